//! A restart with a state file: what was good is good, what was revoked is dead.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use integration::dev::Settings;
use integration::dev::state_file::StateFile;

use crate::world::World;

const READ: &str = "/v1/secret/oauth/creds/cms/cmsprod:crab";
const LOOK_UP: &str = "/v1/auth/token/lookup-self";

fn settings() -> Settings {
    Settings {
        grants: vec!["cms:cmsprod:crab".parse().unwrap()],
        ..Settings::default()
    }
}

async fn access_token(world: &World, token: &str, query: &str) -> String {
    let path = format!("{READ}{query}");
    let answer = world.call("GET", &path, token, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let text = answer.json()["data"]["access_token"].clone();
    text.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tokens_grants_keys_and_cached_tokens_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let world = World::keeping(settings(), &file).await;
    let parent = world.login("cmsprod");
    let child = world.child(&parent, r#"{"ttl":"1h"}"#).await;
    let revoked = world.child(&parent, "").await;
    let revoke = "/v1/auth/token/revoke-self";
    assert_eq!(world.call("POST", revoke, &revoked, "").await.status, 204);
    let cached = access_token(&world, &child, "").await;
    let before = world.call("GET", LOOK_UP, &child, "").await.json();
    world.server.stop().await;

    let world = World::keeping(settings(), &file).await;
    let after = world.call("GET", LOOK_UP, &child, "").await.json();
    assert_eq!(after["data"], before["data"]);
    assert_eq!(access_token(&world, &child, "").await, cached);
    assert_eq!(world.call("GET", LOOK_UP, &revoked, "").await.status, 403);
    // The issuer takes the access token of before, and the refresh token.
    let sts = "/v1/secret/oauth/sts/cms/cmsprod:crab";
    assert_eq!(world.call("GET", sts, &child, "").await.status, 200);
    world.wait(Duration::from_mins(1));
    let fresh = access_token(&world, &child, "?minimum_seconds=3599").await;
    assert_ne!(fresh, cached);
    // A child still dies with its parent.
    assert_eq!(world.call("POST", revoke, &parent, "").await.status, 204);
    assert_eq!(world.call("GET", LOOK_UP, &child, "").await.status, 403);
    world.server.stop().await;
}

#[tokio::test]
async fn the_file_is_for_its_owner_and_holds_no_vault_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let world = World::keeping(settings(), &file).await;
    let token = world.login("cmsprod");
    // Written a moment after the change, while the server runs.
    let minute = Duration::from_mins(1);
    integration::wait::until("the file", minute, async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains("\"owner\": \"cmsprod\"").then_some(())
    })
    .await
    .unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&token));
    let second = StateFile::open(&file).err().unwrap();
    assert!(second.contains("in use by another"), "{second}");
    world.server.stop().await;
    assert!(StateFile::open(&file).is_ok());
}
