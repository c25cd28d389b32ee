//! Look-ups of users that hang.

use clap::Parser as _;

use super::*;

#[tokio::test]
async fn a_look_up_that_hangs_costs_one_thread_and_holds_up_no_other_for_long() {
    let cli = Cli::parse_from(["condor_credmon_htvault"]);
    let (end, hang) = std::sync::mpsc::channel::<()>();
    let mut parser = Parser::new(&cli);
    parser.hanging = Some(tokio::task::spawn_blocking(move || {
        // Until the other end is dropped.
        let _ = hang.recv();
        Settings::default()
    }));
    for _ in 0..100 {
        assert!(parser.parse(&Values::default()).await.is_none());
    }
    drop(end);
    while !parser.hanging.as_ref().unwrap().is_finished() {
        tokio::task::yield_now().await;
    }
    assert!(parser.parse(&Values::default()).await.is_some());
}
