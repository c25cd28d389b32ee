//! What a schedd does not have any more, what it may be that has its name now, and what Vault does not give.

use super::service::{HOUR, Service, at, of};
use super::tokens::in_a_directory;
use super::*;
use crate::model::delivery::{Delivery, Target};
use crate::model::problem::Kind;

fn one() -> Vec<Delivery> {
    vec![at("a", "ap1")]
}

fn by_another_collector(mut wanted: Vec<Delivery>) -> Vec<Delivery> {
    for delivery in &mut wanted {
        if let Target::Credd(credd) = &mut delivery.target {
            credd.collector = Some("other.test".to_owned());
        }
    }
    wanted
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_gone_and_revoked_is_replaced_at_once() {
    for wanted in [one(), in_a_directory()] {
        let outside = Outside::new();
        let id = wanted[0].id.clone();
        let service = Service::good(&outside, wanted).await;
        tokio::time::sleep(HOUR).await;
        {
            let mut world = outside.lock();
            let token = world.token_at(&id).unwrap();
            world.kill(&token);
            world.stored.clear();
        }
        let is_replaced = || outside.lock().stores > 1 && service.state("a", &id.schedd) == Good;
        while !is_replaced() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_ne!(service.state("a", &id.schedd), Failed);
        }
        service.stop().await;
    }
}

/// Whoever took it away may have it, as may the machine that had the name before.
#[tokio::test(start_paused = true)]
async fn a_token_that_was_good_and_is_gone_is_replaced_and_revoked() {
    for wanted in [one(), by_another_collector(one())] {
        let outside = Outside::new();
        let service = Service::good(&outside, one()).await;
        let id = at("a", "ap1").id;
        let old = outside.lock().token_at(&id).unwrap();
        outside.lock().stored.clear();
        service.reload(wanted).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(service.state("a", "ap1"), Good);
        assert_ne!(outside.lock().token_at(&id), Some(old.clone()));
        assert!(!outside.lock().is_alive(&old));
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_token_is_not_taken_for_one_whose_storing_was_not_seen() {
    for wanted in [one(), by_another_collector(one())] {
        let outside = Outside::new();
        let service = Service::good(&outside, one()).await;
        let id = at("a", "ap1").id;
        let old = outside.lock().stored.get(&id).unwrap().clone();
        let old_token = outside.lock().token_at(&id);
        service.order(Order::Push(of(None, None))).await;
        while outside.lock().stores < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The first query after the push has no answer.
        outside.lock().schedds_down.insert("ap1".to_owned());
        tokio::time::sleep(MINUTE).await;
        assert_eq!(service.state("a", "ap1"), Failed);
        outside.lock().stored.insert(id.clone(), old);
        outside.lock().schedds_down.clear();
        service.reload(wanted).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(service.state("a", "ap1"), Good);
        assert_ne!(outside.lock().token_at(&id), old_token);
        assert_eq!(outside.lock().stores, 3, "the second one twice");
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_principal_gets_tokens_of_its_own() {
    let outside = Outside::new();
    let service = Service::good(&outside, in_a_directory()).await;
    let mut wanted = in_a_directory();
    let mut credential = (*wanted[0].credential).clone();
    let mut identity = (*credential.identity).clone();
    identity.principal = "robot2@OTHER".to_owned();
    credential.identity = Arc::new(identity);
    wanted[0].credential = Arc::new(credential);
    outside.lock().login_refused.insert("a".to_owned());
    service.reload(wanted).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "here"), Failed);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_delivery_finds_out_for_all_whether_vault_creates_tokens_again() {
    for kind in [Kind::Forbidden, Kind::VaultDown, Kind::TokenDead] {
        let outside = Outside::new();
        outside.lock().create_refused = Some(kind);
        let wanted = (0..40).map(|n| at("a", &format!("ap{n:02}")));
        let service = Service::start(&outside, wanted.collect());
        tokio::time::sleep(HOUR).await;
        let before = outside.lock().logins;
        tokio::time::sleep(HOUR).await;
        let logins = outside.lock().logins - before;
        assert!((1..200).contains(&logins), "{kind:?}: {logins}");
        outside.lock().create_refused = None;
        tokio::time::sleep(HOUR).await;
        for n in 0..40 {
            assert_eq!(service.state("a", &format!("ap{n:02}")), Good, "{kind:?}");
        }
        service.stop().await;
    }
}
