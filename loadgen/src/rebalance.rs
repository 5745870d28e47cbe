//! How long a group of many members takes until each has its share: when all join, and when one
//! leaves.

use crate::args::RebalanceArgs;
use crate::error::Error;
use crate::ingest::runtime;
use crate::measure::{Meter, Sums};
use crate::progress::Progress;
use crate::report::{Report, Watch};
use crate::topic;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for a group to settle.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Between two looks at the members' shares.
const LOOK: Duration = Duration::from_millis(10);

/// A member of the group and what it has.
struct Member {
    consumer: BaseConsumer,
    partitions: AtomicUsize,
    leaves: AtomicBool,
}

pub(crate) fn run(args: &RebalanceArgs) -> Result<Report, Error> {
    let partitions = usize::try_from(args.topic.partitions).unwrap_or(0);
    if args.members < 2 || partitions < args.members {
        return Err(Error::Usage("--members: at least 2, at most --partitions".to_owned()));
    }
    let runtime = runtime(1)?;
    let client = runtime.block_on(topic::client(&args.topic))?;
    runtime.block_on(topic::prepare(&client, &args.topic))?;
    let progress = Progress::start("rebalance", args.output.quiet);
    let group = format!("anabranch-loadgen-{}", std::process::id());
    let members: Vec<Member> =
        (0..args.members).map(|_| member(args, &group)).collect::<Result<_, _>>()?;
    let meter = Meter::new(Instant::now(), 1);
    let mut sums = Sums::start(&meter);
    let mut watch = Watch::start(args.output.server_pid)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<(), Error> {
        for member in &members {
            scope.spawn(|| poll(member, &stop, &meter));
        }
        progress.say("all join");
        let began = Instant::now();
        let joined = settle(&members, partitions, &meter);
        meter.delivered(0, Instant::now(), std::iter::once(meter.ticket(began)));
        sums.tick(&meter);
        if joined {
            progress.say("one leaves");
            members[0].leaves.store(true, Ordering::Release);
            let began = Instant::now();
            settle(&members[1..], partitions, &meter);
            meter.delivered(0, Instant::now(), std::iter::once(meter.ticket(began)));
            sums.tick(&meter);
        }
        watch.stop()?;
        stop.store(true, Ordering::Release);
        Ok(())
    })?;
    drop(progress);
    let settings = serde_json::json!({
        "topic": args.topic.topic, "partitions": partitions, "members": args.members,
        "protocol": args.protocol, "counted": "rebalances: all join, one leaves",
    });
    Ok(Report::of("rebalance", settings, &sums, &watch, &meter, 0))
}

fn member(args: &RebalanceArgs, group: &str) -> Result<Member, Error> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &args.topic.bootstrap)
        .set("client.id", "anabranch-loadgen")
        .set("group.id", group)
        .set("group.protocol", args.protocol.name())
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[&args.topic.topic])?;
    Ok(Member { consumer, partitions: AtomicUsize::new(0), leaves: AtomicBool::new(false) })
}

/// Polls until the member leaves or all is over, and tells of its share.
fn poll(member: &Member, stop: &AtomicBool, meter: &Meter) {
    let mut has_left = false;
    while !stop.load(Ordering::Acquire) {
        // It still has to be polled: only then does the group hear of it.
        if !has_left && member.leaves.load(Ordering::Acquire) {
            member.consumer.unsubscribe();
            has_left = true;
        }
        if let Some(Err(error)) = member.consumer.poll(LOOK) {
            meter.failed(1, || error.to_string());
        }
        match member.consumer.assignment() {
            Ok(assigned) => member.partitions.store(assigned.count(), Ordering::Release),
            Err(error) => meter.failed(1, || error.to_string()),
        }
    }
}

/// Waits until the members have all partitions, each at least one. Says whether they do.
fn settle(members: &[Member], partitions: usize, meter: &Meter) -> bool {
    let deadline = Instant::now() + SETTLE_MAX;
    while Instant::now() < deadline {
        let shares = members.iter().map(|member| member.partitions.load(Ordering::Acquire));
        let shares: Vec<usize> = shares.collect();
        if shares.iter().all(|share| *share > 0) && shares.iter().sum::<usize>() == partitions {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    meter.failed(1, || format!("the group has not settled in {} s", SETTLE_MAX.as_secs()));
    false
}
