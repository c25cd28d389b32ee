//! What a person's browser does at Keycloak's pages: follows redirects, keeps cookies, sends forms.
//!
//! What always holds: cookies go to the one server that gave them; no page's text and no password is
//! in an error.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use url::form_urlencoded::Serializer;

/// More redirects than this lead nowhere.
const MOST_REDIRECTS: usize = 10;

/// A browser with its cookies.
pub struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

/// A page, where it was found.
struct Page {
    url: Url,
    text: String,
}

impl Browser {
    /// One without cookies; `http` follows no redirects itself.
    #[must_use]
    pub fn new(http: reqwest::Client) -> Self {
        Self {
            http,
            cookies: BTreeMap::new(),
        }
    }

    /// Opens the link of a device flow, logs in, and grants what the client asks for.
    pub async fn approve(
        &mut self,
        link: &str,
        person: &str,
        password: &SecretString,
    ) -> anyhow::Result<()> {
        let link = Url::parse(link).context("the link is no URL")?;
        let login = self.open(Method::GET, link, None).await?;
        let fields = [("username", person), ("password", password.expose_secret())];
        let consent = self.submit(&login, "kc-form-login", &fields).await?;
        ensure!(
            !consent.text.contains("kc-form-login"),
            "the login is refused"
        );
        let code = consent.hidden("code").context("no page asks to confirm")?;
        let fields = [("code", code.as_str()), ("accept", "Yes")];
        let done = self
            .submit(&consent, "login-actions/consent", &fields)
            .await?;
        ensure!(
            done.url.path().ends_with("/device/status") && done.url.query().is_none(),
            "it was not confirmed: {} shows the end",
            done.url.path()
        );
        Ok(())
    }

    /// Sends the form of a page in whose element `mark` stands.
    async fn submit(
        &mut self,
        page: &Page,
        mark: &str,
        fields: &[(&str, &str)],
    ) -> anyhow::Result<Page> {
        let action = page
            .form(mark)
            .with_context(|| format!("{} has no form {mark}", page.url.path()))?;
        let action = page
            .url
            .join(&action)
            .context("a form without an address")?;
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        self.open(Method::POST, action, Some(form)).await
    }

    /// Opens a page, wherever it has gone.
    async fn open(
        &mut self,
        mut method: Method,
        mut url: Url,
        mut form: Option<String>,
    ) -> anyhow::Result<Page> {
        for _ in 0..MOST_REDIRECTS {
            let mut request = self.http.request(method, url.clone());
            let cookies = self.cookies.iter();
            let cookies: Vec<String> = cookies
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            if !cookies.is_empty() {
                request = request.header(COOKIE, cookies.join("; "));
            }
            if let Some(form) = form.take() {
                request = request
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form);
            }
            let answer = request.send().await.map_err(reqwest::Error::without_url)?;
            for cookie in answer.headers().get_all(SET_COOKIE) {
                keep(
                    &mut self.cookies,
                    cookie.to_str().context("a cookie is no text")?,
                );
            }
            let status = answer.status();
            if status.is_redirection() {
                let to = answer.headers().get(LOCATION);
                let to = to.and_then(|to| to.to_str().ok());
                let to = to.context("a redirect without an address")?;
                url = url.join(to).context("a redirect without an address")?;
                method = Method::GET;
                continue;
            }
            ensure!(status == StatusCode::OK, "{} answers {status}", url.path());
            let text = answer.text().await.map_err(reqwest::Error::without_url)?;
            return Ok(Page { url, text });
        }
        bail!("{MOST_REDIRECTS} redirects, at last to {}", url.path())
    }
}

/// Keeps a cookie, or takes it back.
fn keep(cookies: &mut BTreeMap<String, String>, cookie: &str) {
    let pair = cookie.split(';').next().unwrap_or_default();
    if let Some((name, value)) = pair.split_once('=') {
        if value.is_empty() {
            cookies.remove(name.trim());
        } else {
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            cookies.insert(name, value);
        }
    }
}

impl Page {
    /// The address of the form in whose element `mark` stands.
    fn form(&self, mark: &str) -> Option<String> {
        let mut forms = tags(&self.text, "form");
        let form = forms.find(|form| form.contains(mark))?;
        attribute(form, "action")
    }

    /// The value of a hidden field.
    fn hidden(&self, name: &str) -> Option<String> {
        let name = Some(name.to_owned());
        let mut fields = tags(&self.text, "input");
        let field = fields.find(|field| attribute(field, "name") == name)?;
        attribute(field, "value")
    }
}

/// The elements of a kind, each as it begins: what stands between `<form` and `>`.
fn tags<'a>(text: &'a str, kind: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("<{kind} ");
    let ends = text
        .match_indices(&begin)
        .map(|(at, _)| at + begin.len())
        .collect::<Vec<_>>();
    ends.into_iter()
        .filter_map(|at| text.get(at..)?.split('>').next())
}

/// The value of an attribute, where it is quoted.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let begin = format!("{name}=\"");
    let value = tag.split(&begin).nth(1)?.split('"').next()?;
    Some(value.replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_fields_are_found_in_a_page() {
        let page = Page {
            url: "https://keycloak.test:8443/a".parse().unwrap(),
            text: "<form id=\"other\" action=\"/x\"><form class=\"c\" id=\"kc-form-login\" \
                   action=\"https://k/l?a=1&amp;b=2\" method=\"post\">\n\
                   <input type=\"hidden\" name=\"code\" value=\"42\"><input name=\"accept\">"
                .to_owned(),
        };
        assert_eq!(page.form("kc-form-login").unwrap(), "https://k/l?a=1&b=2");
        assert_eq!(page.form("kc-consent"), None);
        assert_eq!(page.hidden("code").unwrap(), "42");
        assert_eq!(page.hidden("accept"), None);
    }

    #[test]
    fn a_cookie_is_kept_until_it_is_taken_back() {
        let mut cookies = BTreeMap::new();
        keep(&mut cookies, "A=b=c; Path=/; Secure");
        keep(&mut cookies, "B=1");
        assert_eq!(cookies["A"], "b=c");
        keep(&mut cookies, "A=; Max-Age=0");
        assert_eq!(cookies.keys().collect::<Vec<_>>(), ["B"]);
    }
}
