use super::Coordinator;
use crate::classic_group::{Identity, Join};
use crate::settings::GroupSettings;
use anabranch_engine::{CommittedOffset, Engine, Session, Settings, StreamSpec};
use anabranch_types::PartitionIndex;
use bytes::Bytes;
use tempfile::TempDir;

const RETENTION_MS: i64 = 1_000_000;

fn engine() -> (TempDir, Session) {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings { disk_reserve_bytes: 0, ..Settings::new(directory.path()) };
    let engine = Engine::open_with_tables_in_memory(settings).expect("a sound directory");
    (directory, engine.own_session())
}

fn coordinator(engine: &Session) -> Coordinator {
    let settings = GroupSettings {
        initial_delay_ms: 0,
        offsets_retention_ms: RETENTION_MS,
        ..GroupSettings::default()
    };
    Coordinator::new(settings, engine.clone())
}

/// Commits an offset of partition 0 that is so old.
async fn commit(engine: &Session, group: &str, age_ms: i64) {
    let stream = engine.catalog().by_name("t").expect("created").id;
    let committed_ms = engine.now().0 - age_ms;
    let metadata = String::new();
    let offset = CommittedOffset { offset: 1, leader_epoch: -1, metadata, committed_ms };
    let offsets = vec![(stream, PartitionIndex(0), Some(offset))];
    engine.commit_offsets(group, offsets).await.expect("written");
}

fn join() -> Join {
    Join {
        member_id: String::new(),
        instance: None,
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        session_ms: 60_000,
        rebalance_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::new())],
        new_id: "m".to_owned(),
        id_first: false,
        can_skip: true,
    }
}

#[tokio::test]
async fn old_offsets_go_once_nobody_was_in_the_group_for_long() {
    let (_directory, engine) = engine();
    let spec = StreamSpec { name: "t".to_owned(), ..StreamSpec::default() };
    engine.create_stream(spec).await.expect("new");
    let coordinator = coordinator(&engine);
    let saving = async {
        commit(&engine, "old", 2 * RETENTION_MS).await;
        commit(&engine, "new", RETENTION_MS / 2).await;
        commit(&engine, "busy", 2 * RETENTION_MS).await;
        commit(&engine, "left", 2 * RETENTION_MS).await;
        coordinator.join("busy", join()).await.expect("the first");
        coordinator.join("left", join()).await.expect("the first");
        let who = Identity { member_id: "m", instance: None };
        coordinator.leave("left", who).expect("a member");
        coordinator.forget_once().await;
    };
    tokio::select! {
        () = saving => {}
        () = coordinator.run() => {}
    }
    let kept = |group: &str| engine.committed_offsets(group).len();
    assert_eq!((kept("old"), kept("new"), kept("busy"), kept("left")), (0, 1, 1, 1));
}
