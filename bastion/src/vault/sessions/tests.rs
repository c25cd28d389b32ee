//! Sessions at a Vault that behaves.

use super::*;
use crate::fakes::Outside;
use crate::fixtures::credential;

#[tokio::test(start_paused = true)]
async fn a_login_whose_answer_is_on_its_way_when_its_waiter_goes_is_ended() {
    let outside = Outside::new();
    let sessions = outside.sessions(Store::default());
    let credential = credential("a", "cms");
    let mut login = Box::pin(sessions.login(&credential));
    tokio::select! {
        biased;
        _ = &mut login => panic!("Vault takes a moment"),
        () = tokio::task::yield_now() => {}
    }
    // It is answered meanwhile, and nobody asks for the answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(outside.lock().logins, 1);
    drop(login);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(outside.lock().living(), 0);
    let recorded = sessions.logins.store.read(|content| content.logins.len());
    assert_eq!(recorded, 0);
}

#[tokio::test(start_paused = true)]
async fn a_proof_answers_those_alone_who_ask_for_no_more() {
    let outside = Outside::new();
    let sessions = outside.sessions(Store::default());
    let credential = Arc::new(credential("a", "cms"));
    let session = sessions.get(&credential).await.unwrap();
    let calls = || outside.lock().calls;
    let asked = async |at_least| sessions.prove(&session, at_least).await.unwrap();
    asked(None).await;
    outside.lock().issuer_down = true;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // What Vault has in its cache is enough for the first, and proves nothing for the others.
    let before = calls();
    let more = Some(Duration::from_mins(20));
    let ((_, first), (_, second), (_, third)) = tokio::join!(asked(None), asked(more), asked(more));
    assert_eq!((first, calls() - before), (None, 2));
    assert!(second.is_some() && third == second, "{second:?}");
    // It still lives for what others ask for, and that it lives no longer is nothing to them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let less = Some(Duration::from_mins(5));
    let (_, problem) = asked(less).await;
    assert_eq!((problem, calls() - before), (None, 3));
    tokio::time::sleep(Duration::from_secs(1)).await;
    asked(less).await;
    assert_eq!(calls() - before, 3);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_fails_answers_all_who_waited_for_it() {
    let outside = Outside::new();
    let sessions = outside.sessions(Store::default());
    let credential = Arc::new(credential("a", "cms"));
    let takes = Duration::from_secs(9);
    {
        let mut world = outside.lock();
        (world.vault_down, world.vault_takes) = (true, takes);
    }
    let begun = Instant::now();
    let get = || sessions.get(&credential);
    let (one, two, three) = tokio::join!(get(), get(), get());
    for answer in [one, two, three] {
        assert_eq!(answer.unwrap_err().kind, Kind::VaultDown);
    }
    assert_eq!((outside.lock().calls, begun.elapsed()), (1, takes));
    // Who asks with another role does so himself, and who asks later finds out anew.
    let mut other = Credential::clone(&credential);
    other.role = "other".to_owned();
    let other = Arc::new(other);
    let (_, answer) = tokio::join!(get(), sessions.get(&other));
    assert_eq!(answer.unwrap_err().kind, Kind::VaultDown);
    assert_eq!(outside.lock().calls, 3);
    outside.lock().vault_down = false;
    get().await.unwrap();
}
