//! A model of what sites run today, in the same year: HTCondor's own `condor_credmon_vault`, and an hourly cron job
//! that stores new vault tokens (`condor_vault_storer`).
//!
//! As read and measured of them: the credmon wakes up each minute and handles its credentials one after the other; it
//! renews what is older than 20 minutes or than its `.top`; it asks for 40 minutes and for nothing less; on `permission
//! denied` it deletes the credential; on anything else it tries again a minute later. An issuer that does not answer
//! costs it 10 s for each credential. The storer needs host, KDC, Vault, issuer and credd at its minute, or waits an hour.

use crate::plan::{Fault, Kind, Plan};
use crate::year::START;
use crate::{DAY, HOUR, LifeClass, MINUTE, Site};

/// Age at which the reference renews, in seconds (`CREDMON_OAUTH_TOKEN_REFRESH`).
const REFRESH: u64 = 20 * MINUTE;
/// Life that it asks for, in seconds (`CREDMON_OAUTH_TOKEN_MINIMUM`).
const MINIMUM: u64 = 40 * MINUTE;
/// Time that a request to an issuer that does not answer costs, in seconds.
const READ_TIMEOUT: u64 = 10;

/// What the reference does in a year.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    /// Minutes of all deliveries, while they were wanted.
    pub minutes: u64,
    /// Those without a usable token, by accounts with one-hour tokens and with six-hour tokens.
    pub lost: [u64; 2],
    /// Longest gap of these, in minutes.
    pub longest_gap: [u64; 2],
    /// Deliveries without a usable token, at the end of every minute from the start on.
    pub without: Vec<usize>,
}

/// Files of one delivery.
#[derive(Clone, Copy, Debug, Default)]
struct Files {
    /// When the `.top` was stored.
    top: Option<u64>,
    /// When the `.use` was made, and when it expires.
    in_use: Option<(u64, u64)>,
    /// Minutes without a usable token until now.
    gap: u64,
    is_unwanted: bool,
    /// The next read is refused.
    is_refused: bool,
}

/// What works in one minute.
struct Minute {
    is_vault_up: bool,
    /// `Some(true)`: the issuer does not answer at all.
    issuer_down: Option<bool>,
    is_storer_up: bool,
}

struct Model {
    site: Site,
    files: Vec<Vec<Files>>,
    /// Expiry of Vault's cached access token, by account.
    cached: Vec<u64>,
    grants_lost: Vec<bool>,
    /// The credmon of a schedd is busy until then.
    busy_until: Vec<u64>,
}

/// Simulates the reference with these faults.
#[must_use]
pub fn simulate(site: Site, plan: &Plan) -> Reference {
    let mut model = Model {
        site,
        files: vec![vec![Files::default(); site.accounts]; site.schedds],
        cached: vec![0; site.accounts],
        grants_lost: vec![false; site.accounts],
        busy_until: vec![0; site.schedds],
    };
    let mut result = Reference::default();
    let mut restored: Vec<(u64, usize)> = Vec::new();
    let mut next = 0;
    let mut under_way: Vec<Fault> = Vec::new();
    for second in (0..=site.days * DAY).step_by(60) {
        while let Some(fault) = plan.faults.get(next).filter(|fault| fault.begin <= second) {
            model.begin(fault.kind);
            under_way.push(*fault);
            if let Kind::GrantLost(account) = fault.kind {
                // Nobody is told: it is noticed when jobs fail.
                let noticed = fault.begin + LifeClass::of_account(account).seconds();
                restored.push((noticed + fault.end - fault.begin, account));
            }
            next += 1;
        }
        restored.retain(|(at, account)| {
            let is_over = *at <= second;
            if is_over && let Some(lost) = model.grants_lost.get_mut(*account) {
                *lost = false;
            }
            !is_over
        });
        for fault in under_way.extract_if(.., |fault| fault.end <= second) {
            model.want(fault.kind, true);
        }
        let is_active =
            |is_meant: &dyn Fn(Kind) -> bool| under_way.iter().any(|fault| is_meant(fault.kind));
        let issuer = under_way
            .iter()
            .find(|fault| matches!(fault.kind, Kind::Issuer(_)));
        let minute = Minute {
            is_vault_up: !is_active(&|kind| kind == Kind::Cluster),
            issuer_down: issuer.map(|fault| fault.kind == Kind::Issuer(true)),
            is_storer_up: !is_active(&|kind| {
                matches!(
                    kind,
                    Kind::BastionHost(_) | Kind::Kdc | Kind::RateLimit(None)
                )
            }),
        };
        for schedd in 0..site.schedds {
            if is_active(&|kind| kind == Kind::Schedd(schedd)) {
                continue;
            }
            if second.is_multiple_of(HOUR) && minute.is_storer_up && minute.is_vault_up {
                model.store(schedd, second, &minute);
            }
            if !is_active(&|kind| kind == Kind::RateLimit(Some(schedd))) {
                model.renew(schedd, second, &minute);
            }
        }
        if second >= START {
            model.judge(second, &mut result);
        } else if second > 0 {
            result.without.push(0);
        }
    }
    result
}

impl Model {
    fn begin(&mut self, kind: Kind) {
        self.want(kind, false);
        match kind {
            Kind::GrantLost(account) => {
                if let Some(lost) = self.grants_lost.get_mut(account) {
                    *lost = true;
                }
            }
            Kind::Wrongful403(account, Some(schedd)) => {
                if let Some(files) = self
                    .files
                    .get_mut(schedd)
                    .and_then(|files| files.get_mut(account))
                {
                    files.is_refused = true;
                }
            }
            _ => {}
        }
    }

    /// What people have revoked does not count.
    fn want(&mut self, kind: Kind, is_wanted: bool) {
        if let Kind::Revoke(account, schedd) = kind
            && let Some(files) = self
                .files
                .get_mut(schedd)
                .and_then(|files| files.get_mut(account))
        {
            files.is_unwanted = !is_wanted;
        }
    }

    /// The storer's hour. It reads an access token to open the credd.
    fn store(&mut self, schedd: usize, second: u64, minute: &Minute) {
        for account in 0..self.site.accounts {
            let opened = self.access_token(account, 1, second, minute);
            let files = self
                .files
                .get_mut(schedd)
                .and_then(|files| files.get_mut(account));
            if let (Some(_), Some(files)) = (opened, files) {
                files.top = Some(second);
            }
        }
    }

    /// The credmon's minute.
    fn renew(&mut self, schedd: usize, second: u64, minute: &Minute) {
        if self
            .busy_until
            .get(schedd)
            .is_some_and(|until| *until > second)
        {
            return;
        }
        let mut takes = 0;
        for account in 0..self.site.accounts {
            let files = self
                .files
                .get(schedd)
                .and_then(|files| files.get(account))
                .copied();
            let Some((mut files, top)) = files.and_then(|files| Some((files, files.top?))) else {
                continue;
            };
            let is_due = files
                .in_use
                .is_none_or(|(made, _)| made + REFRESH <= second || made < top);
            if !is_due || !minute.is_vault_up {
                continue;
            }
            if files.is_refused {
                files = Files {
                    top: None,
                    in_use: None,
                    is_refused: false,
                    ..files
                };
            } else if let Some(expires) = self.access_token(account, MINIMUM, second, minute) {
                files.in_use = Some((second, expires));
            } else if minute.issuer_down == Some(true) {
                takes += READ_TIMEOUT;
            }
            if let Some(place) = self
                .files
                .get_mut(schedd)
                .and_then(|files| files.get_mut(account))
            {
                *place = files;
            }
        }
        if let Some(until) = self.busy_until.get_mut(schedd) {
            *until = second + takes;
        }
    }

    /// Expiry of the access token that Vault gives.
    fn access_token(
        &mut self,
        account: usize,
        at_least: u64,
        second: u64,
        minute: &Minute,
    ) -> Option<u64> {
        let life = LifeClass::of_account(account).seconds();
        let cached = self.cached.get_mut(account)?;
        if *cached < second + at_least {
            if minute.issuer_down.is_some() || self.grants_lost.get(account) == Some(&true) {
                return None;
            }
            *cached = second + life;
        }
        Some(*cached)
    }

    fn judge(&mut self, second: u64, result: &mut Reference) {
        let mut without = 0;
        for files in &mut self.files {
            for (account, files) in files.iter_mut().enumerate() {
                if files.is_unwanted {
                    continue;
                }
                result.minutes += 1;
                if files.in_use.is_some_and(|(_, expires)| expires > second) {
                    files.gap = 0;
                    continue;
                }
                files.gap += 1;
                without += 1;
                let life = LifeClass::of_account(account);
                *life.of_mut(&mut result.lost) += 1;
                let longest = life.of_mut(&mut result.longest_gap);
                *longest = files.gap.max(*longest);
            }
        }
        result.without.push(without);
    }
}
