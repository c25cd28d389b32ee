//! The laws of looking, by examples and by properties.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn folders(names: &[&str]) -> Next {
    Next::Folders(names.iter().map(|&n| (n.into(), Depth::Full)).collect())
}

fn all_of(names: impl IntoIterator<Item = String>) -> Folders {
    let mut all = Folders::default();
    for name in names {
        all.add(&name.into());
    }
    all
}

fn numbered(count: usize) -> Folders {
    all_of((0..count).map(|n| format!("user{n:05}")))
}

fn count(all: &Folders) -> usize {
    all.after("").count()
}

fn none() -> Folders {
    Folders::default()
}

/// Lets a minute pass; which folders are looked at in full, of those in the directory.
fn minute(looks: &mut Looks, now: &mut Instant, all: &Folders) -> BTreeSet<Arc<str>> {
    *now += RESCAN;
    assert_eq!(looks.next(*now, all), Some(Next::Everything));
    looks.go_through(all);
    let (mut full, mut seen) = (BTreeSet::new(), BTreeSet::new());
    while let Some(Next::Folders(some)) = looks.next(*now, all) {
        assert!((1..=PORTION).contains(&some.len()));
        for (folder, depth) in some {
            assert!(seen.insert(Arc::clone(&folder)));
            if depth == Depth::Full {
                full.insert(folder);
            }
        }
    }
    assert_eq!(seen.len(), count(all));
    assert!(looks.full_look_over(*now).is_some());
    full
}

fn settled(now: Instant) -> Looks {
    let mut looks = Looks::new(now);
    assert_eq!(looks.next(now, &none()), Some(Next::Everything));
    looks.go_through(&none());
    assert_eq!(looks.full_look_over(now), Some(now));
    assert_eq!(looks.full_look_over(now), None);
    looks
}

#[test]
fn only_what_changed_is_looked_at_once_it_settled() {
    let now = Instant::now();
    let mut looks = settled(now);
    looks.folder_soon("b", now);
    looks.folder_soon("a", now + MS);
    assert_eq!(looks.at(now), now + SETTLE);
    assert_eq!(looks.next(now + MS, &none()), None);
    assert_eq!(
        looks.next(now + SETTLE, &none()),
        Some(folders(&["a", "b"]))
    );
    assert_eq!(looks.next(now + SETTLE, &none()), None);
    assert_eq!(looks.at(now), now + RESCAN);
    assert_eq!(looks.next(now + RESCAN, &none()), Some(Next::Everything));
}

#[test]
fn a_change_goes_before_the_rest_of_a_full_look() {
    let now = Instant::now();
    let mut looks = Looks::new(now);
    let all = numbered(PORTION + 1);
    assert_eq!(looks.next(now, &all), Some(Next::Everything));
    looks.go_through(&all);
    assert!(matches!(looks.next(now, &all), Some(Next::Folders(f)) if f.len() == PORTION));
    assert!(looks.is_under_way() && looks.full_look_over(now).is_none());
    looks.folder_soon("a", now);
    let now = now + SETTLE;
    assert_eq!(looks.at(now), now);
    assert_eq!(looks.next(now, &all), Some(folders(&["a"])));
    assert_eq!(looks.next(now, &all), Some(folders(&["user00016"])));
    assert!(looks.full_look_over(now).is_some() && !looks.is_under_way());
}

#[test]
fn looks_rest_four_times_as_long_as_they_took() {
    let now = Instant::now();
    let mut looks = settled(now);
    looks.ended(now, now + 10 * MS);
    looks.folder_soon("a", now + 10 * MS);
    assert_eq!(looks.at(now), now + 50 * MS);
    assert_eq!(looks.next(now + 49 * MS, &none()), None);
    assert_eq!(looks.next(now + 50 * MS, &none()), Some(folders(&["a"])));

    looks.everything_now(now);
    assert_eq!(looks.next(now, &none()), Some(Next::Everything));
    looks.full_look_over(now + 10 * MS);
    looks.everything_soon(now + 10 * MS);
    assert_eq!(looks.at(now), now + 50 * MS);
    looks.everything_now(now + 20 * MS);
    assert_eq!(looks.next(now + 20 * MS, &none()), Some(Next::Everything));
}

#[test]
fn whatever_is_unclear_means_everything() {
    let now = Instant::now();
    let mut looks = settled(now);
    looks.note(
        Change {
            everything: true,
            ..Change::default()
        },
        now,
    );
    assert_eq!(looks.at(now), now + SETTLE);
}

#[test]
fn each_minute_has_its_share_of_full_looks_and_what_is_unclear_has_all() {
    let mut now = Instant::now();
    let (mut looks, all) = (settled(now), numbered(10_000));
    for _ in 0..TURNS {
        let full = minute(&mut looks, &mut now, &all).len();
        assert!((400..600).contains(&full), "{full}");
    }
    let everything: [fn(&mut Looks, Instant); 3] = [
        Looks::everything_now,
        Looks::everything_soon,
        |looks, now| {
            let everything = true;
            looks.note(
                Change {
                    everything,
                    ..Change::default()
                },
                now,
            );
        },
    ];
    for ask in everything {
        ask(&mut looks, now);
        assert_eq!(minute(&mut looks, &mut now, &all).len(), count(&all));
        assert!(minute(&mut looks, &mut now, &all).len() < count(&all));
    }
}

#[test]
fn what_is_unclear_during_a_look_has_all_in_the_next_one() {
    let mut now = Instant::now();
    let (mut looks, all) = (settled(now), numbered(100));
    now += RESCAN;
    assert_eq!(looks.next(now, &all), Some(Next::Everything));
    looks.go_through(&all);
    looks.everything_soon(now);
    while let Some(Next::Folders(_)) = looks.next(now, &all) {}
    looks.full_look_over(now);
    assert_eq!(minute(&mut looks, &mut now, &all).len(), count(&all));
}

proptest! {
    #[test]
    fn each_folder_is_looked_at_in_full_once_in_so_many_minutes(
        names in proptest::collection::btree_set("[a-z0-9._-]{1,12}", 1..150),
        before in 0u64..30,
    ) {
        let mut now = Instant::now();
        let mut looks = settled(now);
        let all = all_of(names);
        for _ in 0..before {
            minute(&mut looks, &mut now, &all);
        }
        let mut times = 0;
        let mut looked_at = BTreeSet::new();
        for _ in 0..TURNS {
            let full = minute(&mut looks, &mut now, &all);
            times += full.len();
            looked_at.extend(full);
        }
        prop_assert_eq!((times, looked_at.len()), (count(&all), count(&all)));
    }
}
