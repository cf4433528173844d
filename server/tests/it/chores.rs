//! Chores: each is done by one instance, and again when it is due.

use crate::support::{World, on_each_database};
use roost_server::store::Chore;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);

on_each_database!(
    a_chore_is_taken_by_one,
    a_chore_that_failed_is_due_again_soon,
);

async fn a_chore_is_taken_by_one(world: World) {
    let here = world.instance().await;
    assert_eq!(takers(&world, Chore::TrimJournal).await, 1);
    assert_eq!(takers(&world, Chore::TrimJournal).await, 0);
    // Another chore is another's.
    assert_eq!(takers(&world, Chore::ExpireSessions).await, 1);

    make_due(&world).await;
    assert_eq!(takers(&world, Chore::TrimJournal).await, 1);
    let again = here.store.chores.take(Chore::TrimJournal, HOUR).await;
    assert!(!again.unwrap());
}

async fn a_chore_that_failed_is_due_again_soon(world: World) {
    let here = world.instance().await;
    let chores = &here.store.chores;
    assert!(chores.take(Chore::TrimJournal, HOUR).await.unwrap());
    chores
        .put_off(Chore::TrimJournal, Duration::ZERO)
        .await
        .unwrap();
    assert!(chores.take(Chore::TrimJournal, HOUR).await.unwrap());

    // So it is when the instance does its chores, and the journal does not answer.
    make_due(&world).await;
    let away = "ALTER TABLE journal RENAME TO journal_away";
    world.execute(away, vec![]).await;
    here.app.do_chores().await;
    assert!(!chores.take(Chore::TrimJournal, HOUR).await.unwrap());
    let minutes = "UPDATE chores SET due_us = due_us - 61000000 WHERE name = 'trim_journal'";
    world.execute(minutes, vec![]).await;
    assert!(chores.take(Chore::TrimJournal, HOUR).await.unwrap());
}

/// How many of twenty that ask at once take a chore.
async fn takers(world: &World, chore: Chore) -> usize {
    let here = world.instance().await;
    let asking = (0..20).map(|_| here.store.chores.take(chore, HOUR));
    let taken = futures::future::join_all(asking).await;
    taken
        .into_iter()
        .filter(|taken| *taken.as_ref().unwrap())
        .count()
}

async fn make_due(world: &World) {
    world.execute("UPDATE chores SET due_us = 0", vec![]).await;
}
