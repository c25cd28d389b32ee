//! Somebody logs in for an account: right, wrong, not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use integration::ended::text;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{FAR, parts, parts_of};

#[tokio::test]
async fn an_account_that_waits_for_somebody_is_good_after_onboarding() {
    let mut parts = parts().await;
    parts.forget_grant("crabtw", "crab").await;
    parts.start().await;
    let notice = parts
        .status(|status| {
            let problems = status["problems"].as_array()?;
            let problem = problems.iter().find(|p| p["kind"] == "not_onboarded")?;
            Some(problem["message"].as_str()?.to_owned())
        })
        .await;
    let command = "token-bastion onboard --account crabtw --service cms_crab";
    assert!(notice.ends_with(command), "{notice}");

    // Somebody else logs in: nothing is stored.
    let account = ["--account", "crabtw"];
    let (said, code) = parts.onboard("cmsprod", &account).await;
    assert_eq!((code, &said["stored"]), (1, &false.into()), "{said}");
    let problem = said["problem"].as_str().unwrap();
    for part in ["cmsprod logged in", "crabtw's", "log in as crabtw"] {
        assert!(problem.contains(part), "{problem}");
    }
    assert!(!parts.has_grant("crabtw", "crab").await);

    let (said, code) = parts.onboard("crabtw", &account).await;
    assert_eq!((code, &said["stored"]), (0, &true.into()), "{said}");
    assert_eq!(said["trial"]["good"]["subject"], "crabtw", "{said}");
    parts.all_good().await;

    // Its age is known, and since it may end within the time of warning, people are told.
    let grant = parts
        .status(|status| {
            let grants = status["grants"].as_array()?;
            let crabtw = grants.iter().find(|g| g["account"] == "crabtw")?;
            (crabtw["warn"] == true).then(|| crabtw.clone())
        })
        .await;
    assert!(grant["onboarded"].is_string(), "{grant}");
    assert_eq!(grant["warn"], true, "{grant}");
    let status = parts.run(&["status"]).await;
    assert_eq!(status.status.code(), Some(0), "a warning is no failure");
    assert!(text(&status).contains("may expire in"), "{}", text(&status));

    // What works already is left alone.
    let (said, code) = parts.onboard("crabtw", &account).await;
    assert_eq!((code, &said["stored"]), (0, &false.into()), "{said}");
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_nothing() {
    let parts = parts().await;
    parts.forget_grant("crabtw", "crab").await;
    let command = parts.bastion(&["onboard", "--json", "--account", "crabtw"]);
    let (child, _lines, link) = parts.begin(command).await;
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    let ended = tokio::time::timeout(FAR, child.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", text(&ended));
    assert_eq!(
        String::from_utf8_lossy(&ended.stderr),
        "token-bastion: stopped; nothing was stored but what was reported as stored\n"
    );
    // Too late.
    parts.approve(&link, "crabtw").await;
    assert!(!parts.has_grant("crabtw", "crab").await);
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_asked() {
    let parts = parts().await;
    parts.forget_grant("crabtw", "crab").await;
    let onboard = ["onboard", "--json", "--account", "crabtw", "--wait", "1s"];
    let output = parts.run(&onboard).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let last = String::from_utf8_lossy(&output.stdout);
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(last["stored"], false, "{last}");
    let problem = last["problem"].as_str().unwrap();
    assert!(
        problem.starts_with("nobody logged in within 1s"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_robot_is_onboarded_by_its_person() {
    let robot = "crabtw/bastion/ap.test";
    let mut parts = parts_of(&format!(
        "  robot: {{principal: \"{robot}@TEST\", schedds: [here], credentials: {{cms_crab: {{}}}}}}\n"
    ))
    .await;
    let keytab = parts.chain.keytabs().join("robot.keytab");
    let kdc = &parts.chain.kdc;
    kdc.add_principal_with_keytab(&format!("{robot}@TEST"), &keytab)
        .await
        .unwrap();
    parts.start().await;
    let account = ["--account", "robot"];
    // A robot is not logged in for by another's person.
    let (said, code) = parts.onboard("cmsprod", &account).await;
    assert_eq!((code, &said["stored"]), (1, &false.into()), "{said}");
    let problem = said["problem"].as_str().unwrap();
    assert!(problem.contains("log in as crabtw,"), "{problem}");

    let (said, code) = parts.onboard("crabtw", &account).await;
    assert_eq!((code, &said["stored"]), (0, &true.into()), "{said}");
    assert_eq!(said["grant"], format!("cms/{robot}:crab"), "{said}");
    assert!(said["trial"]["good"].is_object(), "{said}");
    parts.all_good().await;
    assert!(parts.stored("here", "robot", "cms_crab").is_some());
}

#[tokio::test]
async fn an_ordinary_user_stores_and_the_service_tries_it() {
    let mut parts = parts().await;
    parts.forget_grant("crabtw", "crab").await;
    let keytab = parts.chain.keytabs().join("crabtw.keytab");
    fs::set_permissions(&keytab, fs::Permissions::from_mode(0o600)).unwrap();
    parts.start().await;
    let onboard = [
        "onboard",
        "--json",
        "--account",
        "crabtw",
        "--service",
        "cms_crab",
    ];
    let mut command = parts.bastion(&onboard);
    command.uid(65_534).gid(65_534);
    let (child, mut lines, link) = parts.begin(command).await;
    parts.approve(&link, "crabtw").await;
    let last = tokio::time::timeout(FAR, lines.next_line()).await.unwrap();
    let last: Value = serde_json::from_str(&last.unwrap().unwrap()).unwrap();
    assert_eq!(last["stored"], true, "{last}");
    let left = last["trial"]["left"].as_str().unwrap();
    assert!(
        left.ends_with("the service tries what was stored"),
        "{last}"
    );
    let ended = tokio::time::timeout(FAR, child.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("the service does not know of it"), "{said}");
    assert!(parts.has_grant("crabtw", "crab").await);
    let retried = parts.run(&["retry"]).await;
    assert_eq!(retried.status.code(), Some(0), "{}", text(&retried));
    parts.all_good().await;
}
