//! The approval page of the device flow, as HTML text. Pure.
//!
//! What always holds: whatever comes from outside is escaped; the page works without scripts, has
//! a label for each field, and follows the reader's choice of light or dark.

use std::fmt::Write as _;

use crate::dev::settings::RoleName;

/// Everything that the form shows.
pub struct Form<'a> {
    /// The code, filled in when the link had it.
    pub user_code: &'a str,
    /// What is asked for, when the code is known.
    pub asked: Option<(&'a RoleName, &'a [String])>,
    /// What was wrong with the last try.
    pub problem: Option<&'a str>,
}

/// The form that asks who approves.
#[must_use]
pub fn form(form: &Form<'_>) -> String {
    let mut body = String::new();
    if let Some(problem) = form.problem {
        let problem = escaped(problem);
        let _ = write!(body, "<p class=\"problem\" role=\"alert\">{problem}</p>");
    }
    match form.asked {
        Some((role, scopes)) => {
            let _ = write!(
                body,
                "<p>A program that uses this Vault asks for tokens of issuer <b>{}</b>, role \
                 <b>{}</b>. They may:</p><ul>",
                escaped(&role.issuer),
                escaped(&role.role)
            );
            for scope in scopes {
                let _ = write!(body, "<li><code>{}</code></li>", escaped(scope));
            }
            body.push_str("</ul><p>Approve only if the program shows the same code.</p>");
        }
        None => body.push_str("<p>Enter the code that the program shows.</p>"),
    }
    let code = escaped(form.user_code);
    let focus = |wanted: bool| if wanted { " autofocus" } else { "" };
    let _ = write!(
        body,
        "<form method=\"post\" action=\"/device\">\
         <label for=\"user_code\">Code</label>\
         <input id=\"user_code\" name=\"user_code\" value=\"{code}\" class=\"code\" required \
         maxlength=\"20\" autocomplete=\"off\" spellcheck=\"false\"{}>\
         <label for=\"credkey\">Who you are</label>\
         <input id=\"credkey\" name=\"credkey\" maxlength=\"256\" autocomplete=\"username\" \
         spellcheck=\"false\" autocapitalize=\"none\" aria-describedby=\"hint\"{}>\
         <p class=\"hint\" id=\"hint\">The account (credkey) that the tokens are for, as \
         <code>cmsprod</code>, or a robot\u{2019}s, as <code>cmsprod/bastion/host</code>. This is a \
         development server: it asks for no password.</p>\
         <div class=\"buttons\"><button name=\"action\" value=\"approve\">Approve</button>\
         <button name=\"action\" value=\"deny\" class=\"quiet\">Deny</button></div></form>",
        focus(form.asked.is_none()),
        focus(form.asked.is_some()),
    );
    whole("Approve a login", &body)
}

/// The page after a decision.
#[must_use]
pub fn done(title: &str, words: &str) -> String {
    let body = format!("<p role=\"status\">{}</p>", escaped(words));
    whole(title, &body)
}

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f3f5f8;--card:#fff;--text:#1d2733;--soft:#556270;\
--line:#8793a1;--main:#0b5cad;--on-main:#fff;--bad:#a31621}\
@media(prefers-color-scheme:dark){:root{--page:#12171d;--card:#1c242d;--text:#e8edf2;\
--soft:#a9b5c1;--line:#6b7785;--main:#7db8f5;--on-main:#0a1a2b;--bad:#ff9b9b}}\
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;\
padding:1.5rem;background:var(--page);color:var(--text);font:1rem/1.5 system-ui,sans-serif}\
main{width:100%;max-width:30rem;background:var(--card);padding:2rem;border-radius:.75rem;\
box-shadow:0 1px 3px #0003,0 8px 24px #0001}h1{font-size:1.4rem;line-height:1.25;margin:0 0 1rem}\
ul{padding-left:1.2rem}code{font-size:.9em;overflow-wrap:anywhere}\
label{display:block;font-weight:600;margin-top:1rem}\
input{width:100%;font:inherit;color:inherit;background:transparent;padding:.55rem .7rem;\
border:1px solid var(--line);border-radius:.4rem;margin-top:.25rem}\
.code{font-family:ui-monospace,monospace;letter-spacing:.15em;text-transform:uppercase}\
.hint,footer{color:var(--soft);font-size:.875rem}.hint{margin:.4rem 0 0}\
.problem{color:var(--bad);font-weight:600}.buttons{display:flex;gap:.75rem;margin-top:1.5rem}\
button{flex:1;font:inherit;font-weight:600;padding:.6rem 1rem;border-radius:.4rem;cursor:pointer;\
border:1px solid var(--main);background:var(--main);color:var(--on-main)}\
.quiet{background:transparent;color:var(--main)}\
:focus-visible{outline:3px solid var(--main);outline-offset:2px}\
footer{margin-top:1.5rem;padding-top:1rem;border-top:1px solid color-mix(in srgb,var(--line) 40%,\
transparent)}";

fn whole(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title} \u{2013} htvault-dev</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}\
         <footer>Token issuer of htvault-dev, for development only</footer></main></body></html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let page = form(&Form {
            user_code: "\"><script>alert(1)</script>",
            asked: None,
            problem: Some("<b>'x' & y</b>"),
        });
        assert!(!page.contains("<script"), "{page}");
        assert!(
            page.contains("&lt;b&gt;&#39;x&#39; &amp; y&lt;/b&gt;"),
            "{page}"
        );
    }

    #[test]
    fn it_shows_what_is_asked_for() {
        let role: RoleName = "cms:crab".parse().unwrap();
        let scopes = ["storage.read:/".to_owned()];
        let page = form(&Form {
            user_code: "D499B6CA",
            asked: Some((&role, &scopes)),
            problem: None,
        });
        for part in [
            "value=\"D499B6CA\"",
            "<b>crab</b>",
            "storage.read:/",
            "lang=\"en\"",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for label in ["user_code", "credkey"] {
            assert!(page.contains(&format!("<label for=\"{label}\"")), "{label}");
        }
    }
}
