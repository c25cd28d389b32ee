//! Load balancers and firewalls that answer in Vault's place, with pages of their own.

use bastion::model::problem::Kind;
use bastion::policy::plan::State;
use integration::hostile::{Answer, Handling};

use crate::{Site, states};

/// A front's answer to what `begins` so.
fn page(path: &str, begins: &str, status: u16, title: &str) -> Handling {
    if !path.starts_with(begins) {
        return Handling::Pass;
    }
    let body = format!("<html><head><title>{title}</title></head><body>no</body></html>");
    Handling::Answer(Answer::of(status, "text/html", body))
}

#[tokio::test]
async fn a_page_of_a_front_is_said_to_be_none_of_vaults_and_quoted_by_its_title() {
    let site = Site::start().await;
    let front = site.front(|_| Handling::Pass).await;
    site.configure("https://vault.test:8200");
    for (status, title) in [
        (400, "400 The plain HTTP request was sent to HTTPS port"),
        (401, "Log in to the portal"),
        (403, "Request blocked by policy 4711"),
        (404, "404 Not Found - balancer"),
        (431, "431 Request Header Fields Too Large"),
    ] {
        for begins in [
            "auth/kerberos-cms_crab/login",
            "auth/token/create",
            "secret/oauth/creds/cms/crabtw:crab",
        ] {
            site.forget();
            front.rule(move |path| page(path, begins, status, title));
            let (report, said) = site.once().await;
            let others = begins != "auth/token/create";
            let of_others = if others { State::Good } else { State::Failed };
            assert_eq!(
                states(&report),
                [of_others, of_others, State::Failed],
                "{said}"
            );
            for group in &report.problems {
                let text = &group.message;
                assert_eq!(group.kind, Kind::Forbidden, "{text}");
                assert!(
                    text.contains(&format!("{status} a web page with the title")),
                    "{text}"
                );
                assert!(text.contains(title), "{text}");
                assert!(
                    text.contains("something between here and the Vault answered"),
                    "{text}"
                );
                for wrong in ["onboard", "policy extended", "keytab", "refresh token"] {
                    assert!(!text.contains(wrong), "{wrong}: {text}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_fronts_word_that_nothing_is_behind_it_is_an_outage() {
    let site = Site::start().await;
    let front = site.front(|_| Handling::Pass).await;
    site.configure("https://vault.test:8200");
    for (status, title) in [(502, "502 Bad Gateway"), (503, "Service Unavailable")] {
        site.forget();
        front.rule(move |path| page(path, "", status, title));
        let (report, _) = site.once().await;
        let group = crate::only(&report);
        assert_eq!(group.kind, Kind::VaultDown, "{}", group.message);
        assert!(group.message.contains(title), "{}", group.message);
    }
}
