//! A delivery that is wanted no longer and whose vault token lives still.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::delivery::DeliveryId;
use crate::model::records::TokenRecords;

/// Nothing is done for it; an order to revoke it still reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedDelivery {
    /// Name of the delivery.
    #[serde(flatten)]
    pub id: DeliveryId,
    /// Names its living tokens to Vault's admins.
    pub accessors: Vec<String>,
    /// Expiry of the last of them.
    pub expires: Timestamp,
}

impl RemovedDelivery {
    /// Makes it of the stored records; `None` when none of its tokens lives.
    pub(crate) fn new(id: &DeliveryId, records: &TokenRecords, now: Timestamp) -> Option<Self> {
        let living = records.iter().filter(|token| token.life.expires > now);
        let expires = living.clone().map(|token| token.life.expires).max()?;
        Some(Self {
            id: id.clone(),
            accessors: living.map(|token| token.accessor.clone()).collect(),
            expires,
        })
    }
}
