//! Paths of mounts and credentials at a Vault, as templates.

use crate::error::Error;

/// Paths at a Vault below `/v1/`, as templates like those of htgettoken's `--secretpath`,
/// `--kerbpath` and `--oidcpath`: `%issuer`, `%role` and `%credkey` stand for the names.
///
/// ```
/// let mut settings = htvault::Settings::new("https://vault.example.org:8200".parse()?);
/// settings.paths.secret = "secret/oauth-%issuer/creds/%credkey:%role".to_owned();
/// let url = settings.creds_url("cms", "cmsprod", "default")?;
/// assert_eq!(url.path(), "/v1/secret/oauth-cms/creds/cmsprod:default");
/// # Ok::<(), htvault::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paths {
    /// Stored credentials: `secret/oauth/creds/%issuer/%credkey:%role`. For reduced tokens, `/sts/`
    /// takes the place of `/creds/`.
    pub secret: String,
    /// Mount of the Kerberos login: `auth/kerberos-%issuer_%role`.
    pub kerberos: String,
    /// Mount of the OIDC login: `auth/oidc-%issuer`.
    pub oidc: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            secret: "secret/oauth/creds/%issuer/%credkey:%role".to_owned(),
            kerberos: "auth/kerberos-%issuer_%role".to_owned(),
            oidc: "auth/oidc-%issuer".to_owned(),
        }
    }
}

impl Paths {
    /// Path of the credential of `credkey` for `role` of `issuer`.
    pub(crate) fn creds(&self, issuer: &str, credkey: &str, role: &str) -> Result<String, Error> {
        fill(&self.secret, issuer, Some(credkey), role)
    }

    /// Path for reduced access tokens of the same credential.
    pub(crate) fn sts(&self, issuer: &str, credkey: &str, role: &str) -> Result<String, Error> {
        if !self.secret.contains("/creds/") {
            let words = format!("the path {:?} of credentials has no /creds/", self.secret);
            return Err(Error::configuration(&words));
        }
        let template = self.secret.replacen("/creds/", "/sts/", 1);
        fill(&template, issuer, Some(credkey), role)
    }

    #[cfg_attr(
        not(feature = "kerberos"),
        allow(dead_code, reason = "only Kerberos logs in so")
    )]
    pub(crate) fn kerberos_login(&self, issuer: &str, role: &str) -> Result<String, Error> {
        Ok(fill(&self.kerberos, issuer, None, role)? + "/login")
    }

    pub(crate) fn oidc(&self, issuer: &str, role: &str, step: &str) -> Result<String, Error> {
        Ok(fill(&self.oidc, issuer, None, role)? + "/oidc/" + step)
    }
}

/// Refuses a name that would change a path.
fn check_name(kind: &str, name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@=+".contains(c);
    if name.is_empty() || name == "." || name == ".." || !name.chars().all(allowed) {
        return Err(Error::bad_value(&format!(
            "{name:?} is no {kind}: letters, digits and -_.@=+ are allowed"
        ))
        .advise("correct the name"));
    }
    Ok(())
}

/// The path of a template, `/v1/` included.
fn fill(template: &str, issuer: &str, credkey: Option<&str>, role: &str) -> Result<String, Error> {
    check_name("issuer", issuer)?;
    check_name("role", role)?;
    // A robot's credkey has slashes: user/purpose/machine.
    for part in credkey.into_iter().flat_map(|credkey| credkey.split('/')) {
        check_name("credkey", part)?;
    }
    let mut path = String::from("/v1/");
    let mut rest = template.trim_matches('/');
    while let Some((before, name)) = rest.split_once('%') {
        path.push_str(before);
        let known = [
            ("issuer", Some(issuer)),
            ("role", Some(role)),
            ("credkey", credkey),
        ];
        let found = known
            .iter()
            .find_map(|(key, value)| Some((name.strip_prefix(key)?, (*value)?)));
        let Some((after, value)) = found else {
            let words =
                format!("the path {template:?} has a % that is none of %issuer, %role, %credkey");
            return Err(Error::configuration(&words));
        };
        path.push_str(value);
        rest = after;
    }
    path.push_str(rest);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@=+:/".contains(c);
    let bad_part = |part: &str| part.is_empty() || part == "." || part == "..";
    if !path.chars().all(allowed) || path.split('/').skip(1).any(bad_part) {
        let words = format!("the path {template:?} is no path below /v1/");
        return Err(Error::configuration(&words));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_templates_that_would_leave_the_path_are_refused() {
        let paths = Paths::default();
        assert_eq!(
            paths.kerberos_login("cms", "crab").unwrap(),
            "/v1/auth/kerberos-cms_crab/login"
        );
        assert_eq!(
            paths.oidc("cms", "crab", "poll").unwrap(),
            "/v1/auth/oidc-cms/oidc/poll"
        );
        for bad in ["", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "a\nb"] {
            assert!(paths.kerberos_login(bad, "crab").is_err(), "{bad:?}");
            assert!(paths.kerberos_login("cms", bad).is_err(), "{bad:?}");
            assert!(paths.oidc(bad, "crab", "poll").is_err(), "{bad:?}");
            assert!(paths.oidc("cms", bad, "poll").is_err(), "{bad:?}");
        }
        for template in ["", "a/../b", "a//b", "a?b", "%who", "%", "a/%credkey"] {
            let paths = Paths {
                kerberos: template.to_owned(),
                ..Paths::default()
            };
            assert!(paths.kerberos_login("cms", "crab").is_err(), "{template}");
        }
    }
}
