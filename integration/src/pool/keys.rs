//! The public keys of token issuers, in the cache that a pool's daemons share.
//!
//! What always holds: a started pool of the current release has the keys of each issuer in its map
//! file. The library that its daemons use (scitokens-cpp) waits 4 s for an issuer, which is short on a
//! busy machine, and after a failure it asks no more for 10 minutes. Daemons of the older release keep
//! neither keys nor failures: the folder that they make for it is none that they may use.

use std::collections::BTreeSet;

use super::Mapping;
use super::root::Root;
use crate::wait::{self, FAR};

/// `SEC_SCITOKENS_CACHE` as HTCondor's packages set it.
const CACHE: &str = "XDG_CACHE_HOME=/run/condor/cache";

/// Gets the keys of the issuer that it is told, by the daemons' own library.
const REFRESH: &str = "import ctypes, sys
message = ctypes.c_char_p()
library = ctypes.CDLL('libSciTokens.so.0')
if library.keycache_refresh_jwks(sys.argv[1].encode(), ctypes.byref(message)):
    sys.exit(message.value)";

/// Fills the cache, as soon as each issuer answers.
pub(super) async fn fetch(root: &Root, map: &[Mapping]) -> anyhow::Result<()> {
    let issuers: BTreeSet<&str> = map.iter().map(|line| line.issuer.as_str()).collect();
    for issuer in issuers {
        let refresh = ["env", CACHE, "python3", "-c", REFRESH, issuer];
        wait::until(&format!("the keys of {issuer}"), FAR, async || {
            root.run("condor", &refresh, "").await?.success()
        })
        .await?;
    }
    Ok(())
}
