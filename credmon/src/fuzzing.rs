//! Entry points for fuzzing: what users, HTCondor and Vault write, with what must hold for any input.
//!
//! Each function panics when its law is broken, and else does nothing. First it forgets the texts of earlier inputs, so
//! that memory does not grow.

use std::sync::Arc;

use htvault::TokenForm;
use htvault::text::printable;
use jiff::Timestamp;

use crate::config::Settings;
use crate::config::condor::Values;
use crate::model::{
    CredentialId, FileId, Lifetime, NameStyle, Routing, TEXT_LIMIT, TokenInfo, TopProblem,
    forget_unused_texts, without_dot,
};
use crate::store;

/// A `.top`: of whatever can be used, the server is at port 8200, and no message repeats the file.
pub fn top_file(data: &[u8]) {
    forget_unused_texts();
    let user: Arc<str> = "cmsprod".into();
    let Some(id) = CredentialId::new(&user, "cms_crab") else {
        return;
    };
    match store::top::parse_complete(data) {
        Ok(top) => {
            let token = top.vault_token.expose();
            assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
            let url = top.url.to_string();
            let authority = url
                .strip_prefix("https://")
                .and_then(|rest| rest.split('/').next());
            assert!(
                authority.is_some_and(|authority| !authority.contains('@')),
                "{url}"
            );
            assert!(!url.contains(['?', '#']), "{url}");
            assert!(top.url.path().starts_with("/v1/"), "{url}");
            assert_eq!(top.url.server().port(), 8200);
            let route = top.route(&id);
            assert_eq!(*route.host, *without_dot(top.url.server().host()));
            assert!(!route.issuer.is_empty());
        }
        Err(TopProblem::Unusable(why) | TopProblem::Unreadable(why)) => {
            assert!(
                why.len() < 150 && printable(&why, TEXT_LIMIT) == *why,
                "{why}"
            );
        }
    }
}

/// A `.use`: what is kept of a token is printable and bounded.
pub fn use_file(data: &[u8]) {
    forget_unused_texts();
    let text = String::from_utf8_lossy(data);
    let claims = match TokenForm::of(text.strip_suffix('\n').unwrap_or(&text)) {
        TokenForm::Jwt(claims) => Some(claims),
        _ => None,
    };
    let now = Timestamp::UNIX_EPOCH;
    let lifetime = Lifetime::of(claims.as_ref(), None, now);
    assert!(lifetime.is_none_or(|life| life.length() >= 0));
    let info = TokenInfo::new(FileId::default(), now, lifetime, claims.as_ref());
    let texts = [
        info.id.as_deref(),
        info.issuer.as_deref(),
        info.subject.as_deref(),
    ];
    for text in texts.into_iter().flatten() {
        assert_eq!(printable(text, TEXT_LIMIT), *text);
    }
    if let Some(scopes) = &info.scopes {
        assert_eq!(printable(scopes, 2 * TEXT_LIMIT), **scopes);
    }
}

/// Names in the credential directory, one a line: the folder, then files. No name that is accepted leaves its folder
/// or is more than one line of a log.
pub fn names(data: &[u8]) {
    forget_unused_texts();
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let user: Arc<str> = lines.next().unwrap_or_default().into();
    let routings = [
        NameStyle::Unrouted,
        NameStyle::Whole,
        NameStyle::Exact,
        NameStyle::Parted,
    ]
    .map(|names| Routing {
        names,
        ours: ["cms".to_owned()].into(),
        ..Routing::default()
    });
    for service in lines {
        let mut id = CredentialId::new(&user, service);
        while let Some(one) = id {
            for name in [one.top_name(), one.use_name(), one.user().to_string()] {
                assert!(!name.contains('/') && !name.starts_with('.'), "{name:?}");
                assert_eq!(printable(&name, usize::MAX), name);
            }
            for routing in &routings {
                // A reason holds the name, and nothing that the name does not.
                let _ = routing.check(one.service()).map_err(|why| why.to_string());
            }
            id = one.parent();
        }
    }
}

/// What `condor_config_val` prints: a value that makes no sense leaves the default in force.
pub fn condor_config_val(data: &[u8]) {
    let values = Values::from_dump(&String::from_utf8_lossy(data));
    let settings = Settings::new(&values, "CREDMON_OAUTH", "ap.test");
    let limits = settings.rules.limits;
    assert!(limits.minimum >= 1 && limits.refresh >= 1);
    assert_eq!(settings.outputs.status_mode & !0o666, 0);
    assert!(
        settings
            .rules
            .request_limit
            .is_none_or(|(limit, per)| limit > 0 && per > 0)
    );
    for copy in &settings.copies {
        assert!(copy.path.is_absolute(), "{copy:?}");
    }
}
