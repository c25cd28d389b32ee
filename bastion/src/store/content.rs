//! Content of the state: tokens by their accessors, revocations by people, and the age of grants.
//!
//! Always true: it contains no secret; an accessor names a token and grants nothing. A token or login stays in it until
//! it has expired or is known to be revoked, whatever the configuration says by then; so the state is bounded.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::delivery::DeliveryId;
use crate::model::grants::Grants;
use crate::model::records::{LoginRecord, TokenRecords};

/// Extent of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// Facts about tokens that were in the state before, or about grants.
    Facts,
    /// The set of tokens.
    Tokens,
}

/// The state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Notes of deliveries, including those that are no longer configured.
    pub(crate) deliveries: BTreeMap<DeliveryId, TokenRecords>,
    /// Deliveries that a person revoked.
    pub(crate) revoked: BTreeMap<DeliveryId, RevocationRecord>,
    /// Age of grants, by the path of their credential at Vault.
    pub(crate) grants: Grants,
    /// Logins by their accessors.
    pub(crate) logins: BTreeMap<String, LoginRecord>,
}

/// Revocation of a delivery by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RevocationRecord {
    /// Time of the first order.
    pub(crate) since: Timestamp,
    /// Present until it is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unfinished: Option<Unfinished>,
}

/// Revocation that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    /// Nothing is asked of the schedd.
    pub(crate) leave_schedd: bool,
}

impl Content {
    /// Replaces the records of a delivery, without tokens that have expired.
    pub(super) fn record(
        &mut self,
        id: &DeliveryId,
        mut records: TokenRecords,
        now: Timestamp,
    ) -> Change {
        records.drop_expired(now);
        let before = if records == TokenRecords::default() {
            self.deliveries.remove(id)
        } else {
            self.deliveries.insert(id.clone(), records.clone())
        };
        let before = before.unwrap_or_default();
        if before == records {
            Change::Nothing
        } else if before.iter().eq(records.iter()) {
            Change::Facts
        } else {
            Change::Tokens
        }
    }

    /// Records that a person revoked a delivery. The time of the first order counts.
    pub(crate) fn revoke(&mut self, id: &DeliveryId, since: Timestamp) -> &mut RevocationRecord {
        let unfinished = None;
        let new = RevocationRecord { since, unfinished };
        self.revoked.entry(id.clone()).or_insert(new)
    }

    /// Deliveries whose revocation is not finished.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &DeliveryId> {
        let unfinished = self.revoked.iter();
        let unfinished = unfinished.filter(|(_, revoked)| revoked.unfinished.is_some());
        unfinished.map(|(id, _)| id)
    }

    /// Removes tokens and logins that have expired.
    pub(super) fn drop_expired(&mut self, now: Timestamp) -> Change {
        let names = |content: &Self| {
            let records = content.deliveries.values();
            records.map(|records| records.iter().count()).sum::<usize>() + content.logins.len()
        };
        let before = names(self);
        self.deliveries.retain(|_, records| {
            records.drop_expired(now);
            *records != TokenRecords::default()
        });
        self.logins
            .retain(|_, login| login.token.life.expires > now);
        // Expired tokens on disk do no harm: no hurry.
        if names(self) == before {
            Change::Nothing
        } else {
            Change::Facts
        }
    }
}
