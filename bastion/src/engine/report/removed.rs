//! A delivery that is wanted no longer, while a vault token of it lives or its revocation is not finished.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::delivery::DeliveryId;
use crate::model::problem::Remedy;
use crate::model::records::TokenRecords;
use crate::store::Content;

/// Nothing is delivered any more; an order to revoke it still reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedDelivery {
    /// Name of the delivery.
    #[serde(flatten)]
    pub id: DeliveryId,
    /// Names its living tokens to Vault's admins.
    pub accessors: Vec<String>,
    /// Expiry of the last of them; `None` when none lives.
    pub expires: Option<Timestamp>,
    /// A person revoked it, and that is not finished.
    #[serde(default)]
    pub unfinished: bool,
    /// The service tries that again: it knows the way to the schedd.
    #[serde(default)]
    pub tried_again: bool,
}

impl RemovedDelivery {
    /// Makes it of what is stored; `None` when nothing is left of it.
    pub(crate) fn new(
        id: &DeliveryId,
        content: &Content,
        is_owned: bool,
        now: Timestamp,
    ) -> Option<Self> {
        let records = content.deliveries.get(id).into_iter();
        let tokens = records.flat_map(TokenRecords::iter);
        let living = tokens.filter(|token| token.life.expires > now);
        let expires = living.clone().map(|token| token.life.expires).max();
        let revoked = content.revoked.get(id);
        let unfinished = revoked.is_some_and(|revoked| revoked.unfinished.is_some());
        (unfinished || expires.is_some()).then(|| Self {
            id: id.clone(),
            accessors: living.map(|token| token.accessor.clone()).collect(),
            expires,
            unfinished,
            tried_again: unfinished && is_owned,
        })
    }

    /// Line for people on a revocation that is not finished.
    pub(crate) fn problem_line(&self) -> Option<String> {
        let DeliveryId {
            account,
            service,
            schedd,
        } = &self.id;
        let command = format!(
            "token-bastion revoke --account {account} --service {service} --schedd {schedd}"
        );
        let what_to_do = if self.tried_again {
            format!(
                ", and is tried again: the log says what is left; if that schedd is no more, run `{command} --leave-schedd`"
            )
        } else {
            format!(": run `{command}` again, with --leave-schedd if that schedd is no more")
        };
        self.unfinished
            .then(|| format!("{}: its revocation is not finished{what_to_do}", self.id))
    }

    /// Who has to finish it.
    pub(crate) fn remedy(&self) -> Remedy {
        if self.tried_again {
            Remedy::Wait
        } else {
            Remedy::FixThisHost
        }
    }
}
