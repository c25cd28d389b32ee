//! Laws of the limit and of blocks after a 429.

use super::*;
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_mins(1);

fn limited(limit: u32) -> RequestLog {
    RequestLog::new(Some(RequestLimit { limit, per: MINUTE }))
}

#[tokio::test(start_paused = true)]
async fn the_longest_times_are_bounded() {
    let longest = Budget::new(Some(RequestLimit {
        limit: 1,
        per: Duration::MAX,
    }));
    drop(longest.permit(Duration::MAX).await.ok().unwrap());
    let year = Instant::now() + LONGEST_SPAN;
    let denied = longest.permit(Duration::MAX).await.err();
    assert_eq!(denied, Some(Denied::Full(year)));
    assert_eq!(longest.used().unwrap().used, 1);
}

#[test]
fn a_full_budget_says_when_there_is_room() {
    let now = Instant::now();
    let mut log = limited(2);
    assert_eq!(log.take(now), Ok(false));
    assert_eq!(log.take(now + MINUTE / 2), Ok(false));
    assert_eq!(log.take(now + MINUTE / 2), Err(Denied::Full(now + MINUTE)));
    assert_eq!(log.take(now + MINUTE), Ok(false));
}

#[tokio::test(start_paused = true)]
async fn what_is_used_is_what_was_sent_in_the_span() {
    let limit = RequestLimit {
        limit: 2,
        per: MINUTE,
    };
    let budget = Budget::new(Some(limit));
    let used = || budget.used().unwrap().used;
    assert_eq!(used(), 0);
    drop(budget.permit(MINUTE).await.ok().unwrap());
    tokio::time::advance(MINUTE / 2).await;
    drop(budget.permit(MINUTE).await.ok().unwrap());
    assert_eq!(budget.used(), Some(RequestsUsed { limit, used: 2 }));
    tokio::time::advance(MINUTE / 2).await;
    assert_eq!(used(), 1, "the first is a minute old");
    assert_eq!(Budget::new(None).used(), None);
}

#[test]
fn a_refusal_of_a_persons_request_makes_no_block_longer() {
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let mut log = RequestLog::new(None);
    assert_eq!(log.refused(now, now, None), at(15) - now);
    for tried in [at(3), at(7), at(14)] {
        log.retry_now(tried);
        // Nothing changes for who asks twice.
        log.retry_now(tried);
        assert_eq!(log.take(tried), Ok(true));
        log.probing = None;
        assert_eq!(log.refused(tried, tried, None), at(15) - tried);
        assert_eq!(log.take(tried), Err(Denied::Blocked(at(15))));
    }
    // Where the server says how long, that counts.
    log.retry_now(at(14));
    assert_eq!(
        log.refused(at(14), at(14), Some(at(40) - now)),
        at(40) - now
    );
    // Once the block is over the next one is longer, as ever.
    assert_eq!(log.refused(at(60), at(60), None), at(60) - now);
}

#[test]
fn blocks_grow_and_one_request_finds_out() {
    let mut now = Instant::now();
    let mut log = RequestLog::new(None);
    for expected in [15, 30, 60, 120, 240, 300, 300] {
        assert!(log.take(now).is_ok());
        log.probing = None;
        log.refused(now, now, None);
        let until = now + Duration::from_secs(expected);
        assert_eq!(log.take(now), Err(Denied::Blocked(until)));
        now = until;
    }
    assert_eq!(log.take(now), Ok(true));
    assert!(matches!(log.take(now), Err(Denied::Blocked(_))));
    log.answered(now);
    log.probing = None;
    assert_eq!(log.take(now), Ok(false));
    log.refused(now, now, None);
    assert_eq!(
        log.take(now),
        Err(Denied::Blocked(now + FIRST_BLOCK)),
        "a good answer makes the next block short again"
    );
}

#[test]
fn a_person_may_find_out_before_a_block_is_over() {
    let (mut log, now) = (limited(100), Instant::now());
    log.refused(now, now, Some(Duration::from_secs(1_000_000_000)));
    assert!(log.take(now).is_err());
    log.retry_now(now);
    assert_eq!(log.take(now), Ok(true));
    assert!(log.take(now).is_err(), "one alone");
    log.refused(now, now, Some(MINUTE));
    log.probing = None;
    assert_eq!(log.take(now), Err(Denied::Blocked(now + MINUTE)));
}

#[test]
fn retry_after_is_obeyed_within_reason() {
    let now = Instant::now();
    for (asked, block) in [
        (Duration::from_secs(7), Duration::from_secs(7)),
        (MINUTE * 600, LONGEST_BLOCK),
    ] {
        let mut log = RequestLog::new(None);
        log.refused(now, now, Some(asked));
        assert_eq!(log.take(now), Err(Denied::Blocked(now + block)));
    }
}

#[test]
fn refusals_under_way_together_count_once() {
    let now = Instant::now();
    let mut log = RequestLog::new(None);
    for _ in 0..20 {
        log.refused(now, now, None);
    }
    assert_eq!(log.take(now), Err(Denied::Blocked(now + FIRST_BLOCK)));
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_room_but_not_for_a_block() {
    let budget = Budget::new(Some(RequestLimit {
        limit: 1,
        per: MINUTE,
    }));
    let start = Instant::now();
    drop(budget.permit(MINUTE).await.ok().unwrap());
    let permit = budget.permit(MINUTE).await.ok().unwrap();
    assert_eq!(start.elapsed(), MINUTE);
    assert!(matches!(
        budget.permit(MINUTE / 2).await,
        Err(Denied::Full(_))
    ));
    permit.refused(None);
    assert!(matches!(
        budget.permit(MINUTE).await,
        Err(Denied::Blocked(_))
    ));
    assert_eq!(start.elapsed(), MINUTE, "nobody waited");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_leaves_the_way_free() {
    let budget = Budget::new(None);
    budget.permit(MINUTE).await.ok().unwrap().refused(None);
    tokio::time::advance(FIRST_BLOCK).await;
    let probe = budget.permit(MINUTE).await.ok().unwrap();
    assert!(budget.permit(MINUTE).await.is_err());
    drop(probe);
    assert!(budget.permit(MINUTE).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_holds_up_nobody_for_long() {
    let budget = Budget::new(None);
    let permit = async || budget.permit(MINUTE).await;
    permit().await.ok().unwrap().refused(None);
    tokio::time::advance(FIRST_BLOCK).await;
    let probe = permit().await.ok().unwrap();
    let until = Instant::now() + PROBE_ALONE;
    assert_eq!(permit().await.err(), Some(Denied::Blocked(until)));
    tokio::time::advance(Duration::from_secs(5)).await;
    let beside = permit().await.ok().unwrap();
    drop(permit().await.ok().unwrap());
    // A refusal begins a block with a probe of its own.
    let block = beside.refused(None);
    tokio::time::advance(block).await;
    let next = permit().await.ok().unwrap();
    drop(probe);
    assert!(permit().await.is_err(), "the next one probes alone");
    next.answered();
    assert!(permit().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_request_of_before_a_block_does_not_end_it() {
    let budget = Budget::new(None);
    let permit = async || budget.permit(MINUTE).await;
    let slow = permit().await.ok().unwrap();
    permit().await.ok().unwrap().refused(None);
    tokio::time::advance(FIRST_BLOCK).await;
    slow.answered();
    let probe = permit().await.ok().unwrap();
    assert!(permit().await.is_err(), "one probes alone");
    assert_eq!(probe.refused(None), 2 * FIRST_BLOCK);
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_of_a_request_of_before_a_block_makes_no_other() {
    let budget = Budget::new(None);
    let permit = async || budget.permit(MINUTE).await;
    let late = [permit().await.ok().unwrap(), permit().await.ok().unwrap()];
    tokio::time::advance(Duration::from_secs(1)).await;
    permit().await.ok().unwrap().refused(None);
    tokio::time::advance(FIRST_BLOCK).await;
    // Before the probe, and after its good answer.
    assert_eq!(late[0].refused(None), Duration::ZERO);
    let probe = permit().await.ok().unwrap();
    probe.answered();
    drop(probe);
    assert_eq!(late[1].refused(Some(MINUTE)), Duration::ZERO);
    let next = permit().await.ok().unwrap();
    assert_eq!(next.refused(None), FIRST_BLOCK, "it is the first in a row");
}

proptest! {
    #[test]
    fn never_more_than_the_limit_in_any_span(
        limit in 1_u32..20,
        pauses in prop::collection::vec(0_u64..10_000, 1..200),
    ) {
        let mut log = limited(limit);
        let mut now = Instant::now();
        let mut sent = Vec::new();
        for pause in pauses {
            now += Duration::from_millis(pause);
            if log.take(now).is_ok() {
                sent.push(now);
            }
        }
        for &from in &sent {
            let within = sent.iter().filter(|&&at| at >= from && at < from + MINUTE).count();
            prop_assert!(within <= usize::try_from(limit).unwrap());
        }
    }
}
