//! The end of an outage: who waited for it does not ask for everything in the same minute.

use super::service::{HOUR, Service, at};
use super::*;
use crate::model::delivery::Delivery;

/// Requests in each of the next minutes.
async fn requests(outside: &Outside, minutes: usize) -> Vec<u32> {
    let mut found = Vec::new();
    for _ in 0..minutes {
        let before = outside.lock().calls;
        tokio::time::sleep(MINUTE).await;
        found.push(outside.lock().calls - before);
    }
    found
}

#[tokio::test(start_paused = true)]
async fn when_an_issuer_that_hung_answers_again_requests_are_spread() {
    let outside = Outside::new();
    outside.lock().access_life = HOUR;
    let accounts: Vec<String> = (0..300).map(|n| format!("a{n}")).collect();
    let wanted: Vec<Delivery> = accounts.iter().map(|account| at(account, "ap1")).collect();
    let service = Service::good(&outside, wanted).await;
    tokio::time::sleep(HOUR).await;
    let usual: u32 = requests(&outside, 60).await.iter().sum();
    for minutes in [10_u32, 21] {
        // Vault finds out after half a minute, each time.
        let slow = |is_slow: bool| {
            let mut world = outside.lock();
            world.issuer_down = is_slow;
            let takes = if is_slow { 30_000 } else { 5 };
            world.vault_takes = Duration::from_millis(takes);
        };
        slow(true);
        outside.lock().cached.clear();
        tokio::time::sleep(MINUTE * minutes).await;
        slow(false);
        let after = requests(&outside, 15).await;
        let most = after.iter().max().unwrap();
        assert!(most * 60 <= 3 * usual, "{usual} in an hour, then {after:?}");
        tokio::time::sleep(2 * HOUR).await;
    }
    service.stop().await;
}
