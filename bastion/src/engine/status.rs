//! Published state of one delivery.
//!
//! Always true: the vault token's lifetime and the jobs' safety belong to the token that is at the schedd
//! now; another token begins anew.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::engine::attempt::{AccessFacts, AtSchedd, Outcome, Tokens};
use crate::model::delivery::Delivery;
use crate::model::moment::{after, before};
use crate::model::records::{InstalledToken, TokenRecord, TokenRecords, requested_content};
use crate::policy::jobs;
use crate::policy::plan::{self, Record, State};

/// So much is no step of a clock: clocks are slewed, and two are never read at once.
const STEP: Duration = Duration::from_secs(2);

/// State of one delivery, as its owner publishes it.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) record: Record,
    /// The access token that was read last with the current vault token.
    pub(crate) access: AccessFacts,
    /// Accessor of the vault token at the schedd.
    pub(crate) accessor: Option<String>,
    /// Accessors of other vault tokens of the delivery that may live.
    pub(crate) other_accessors: Vec<String>,
    /// Time since which the collector does not know the schedd.
    pub(crate) gone: Option<Timestamp>,
    /// An attempt or a revocation runs.
    pub(crate) running: bool,
    /// Number of attempts that have ended, with those that an open breaker did not let begin.
    pub(crate) attempts: u64,
    /// Time when an attempt last succeeded.
    pub(crate) succeeded: Option<Timestamp>,
}

impl Status {
    /// Status of a delivery of which nothing is known but what the store has.
    pub(crate) fn new(
        delivery: Arc<Delivery>,
        records: Option<&TokenRecords>,
        tokens: &Tokens,
    ) -> Self {
        let installed = records.and_then(|records| records.current.as_ref());
        let access_life = installed
            .and_then(|installed| installed.access_seconds)
            .map(Duration::from_secs);
        let access = installed.map(|installed| AccessFacts {
            jti: None,
            expires: installed.access_reads.last().map(|read| read.expires),
            life: access_life,
            subject: installed.subject.clone(),
            reads: installed.access_reads.clone(),
        });
        let mut status = Self {
            delivery,
            record: Record {
                life: tokens.life(),
                basis: tokens.basis(),
                access_life,
                safe_until: installed.and_then(|installed| installed.jobs_safe_until),
                ..Record::default()
            },
            access: access.unwrap_or_default(),
            accessor: None,
            other_accessors: Vec::new(),
            gone: None,
            running: false,
            attempts: 0,
            succeeded: None,
        };
        status.name_tokens(tokens);
        status
    }

    /// State at a time.
    pub(crate) fn state(&self, now: Timestamp) -> State {
        if self.gone.is_some() {
            State::Gone
        } else {
            self.record.state(now)
        }
    }

    /// Takes over what an attempt observed; `tokens` are those after it.
    pub(super) fn observe(&mut self, tokens: &Tokens, outcome: Outcome, now: Timestamp) {
        let record = &mut self.record;
        let life = tokens.life();
        if life != record.life {
            record.good_since = None;
            record.life = life;
            record.proved = None;
        }
        record.renew_by = match &tokens.at_schedd {
            Some(AtSchedd::Inherited(inherited)) => inherited.renew_by,
            _ => None,
        };
        record.basis = tokens.basis();
        if let Some(access) = outcome.access {
            record.proved = Some(now);
            record.granted = (access.expires.zip(access.life))
                .map(|(expires, life)| plan::granted(now, before(expires, life), life));
            record.access_life = access.life;
            self.access = access;
        }
        if let Some(seen) = outcome.seen {
            record.observed = Some(now);
            let seen = jobs::AccessObservation {
                stored: seen.stored,
                served: seen.served,
                serves_until: seen.serves_until,
                reads: &self.access.reads,
                ahead: ahead(tokens.sent, seen.stored, now),
            };
            record.safe_until = jobs::safe_until(record.safe_until, &seen);
        }
        self.name_tokens(tokens);
    }

    /// Takes over a revocation; `tokens` are those that may still live.
    pub(super) fn revoked(&mut self, tokens: &Tokens) {
        self.access = AccessFacts::default();
        self.record = Record {
            // Ordered or configured meanwhile.
            revoked: self.record.revoked,
            asked: self.record.asked,
            changed: self.record.changed,
            failure: self.record.failure.take(),
            ..Record::default()
        };
        self.name_tokens(tokens);
    }

    fn name_tokens(&mut self, tokens: &Tokens) {
        self.accessor = tokens.accessor().map(str::to_owned);
        self.other_accessors = tokens.other_accessors().map(str::to_owned).collect();
    }

    /// Records for the store: the tokens, and what is known of access tokens.
    pub(super) fn to_records(&self, tokens: &Tokens, access: &AccessFacts) -> TokenRecords {
        let installed = |token: TokenRecord, stored| InstalledToken {
            token,
            stored,
            // No content is asked for in no words: after a restart the token is replaced.
            requested: if self.record.changed {
                String::new()
            } else {
                requested_content(&self.delivery.credential)
            },
            access_seconds: access.life.map(|life| life.as_secs()),
            access_reads: access.reads.clone(),
            subject: access.subject.clone(),
            jobs_safe_until: self.record.safe_until,
        };
        let current = tokens.at_schedd.as_ref().and_then(|token| match token {
            // The schedd was not observed since the start.
            AtSchedd::Recorded(recorded) => Some(recorded.clone()),
            // An estimate names nothing: nobody could do anything with it.
            _ => Some(Box::new(installed(token.record()?, token.stored()))),
        });
        let owned = tokens
            .candidate
            .as_deref()
            .into_iter()
            .chain(&tokens.former);
        let others = owned.map(TokenRecord::from).chain(tokens.lost.clone());
        TokenRecords::new(current, others.collect())
    }
}

/// Bound on how far a schedd's clock is ahead, from the time of a push and the time that the schedd gave it,
/// in whole seconds. `None` when this host's clock was set since the push.
fn ahead(
    sent: Option<(Timestamp, Instant)>,
    stored: Option<Timestamp>,
    now: Timestamp,
) -> Option<SignedDuration> {
    let (sent, by_steady_clock) = sent?;
    let step = now.duration_since(after(sent, by_steady_clock.elapsed()));
    let ahead = stored.filter(|_| step.unsigned_abs() <= STEP)?;
    ahead
        .duration_since(sent)
        .checked_add(SignedDuration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_push_measures_the_schedds_clock_until_this_hosts_is_set() {
        let pushed = Timestamp::from_second(1_000_000).unwrap();
        let second = Duration::from_secs(1);
        let sent = Some((pushed, Instant::now()));
        let stored = Some(after(pushed, 3 * second));
        tokio::time::sleep(100 * second).await;
        let now = after(pushed, 100 * second);
        let most = SignedDuration::from_secs(4);
        assert_eq!(ahead(sent, stored, after(now, second)), Some(most));
        let hour = Duration::from_hours(1);
        for set in [before(now, hour), after(now, hour)] {
            assert_eq!(ahead(sent, stored, set), None);
        }
        assert_eq!(ahead(None, stored, now), None);
    }
}
