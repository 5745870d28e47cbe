//! Kafka's own command line tools, of Kafka 4.3, against the broker: what an operator types works.
//!
//! All of them run in one Java process (`tests/tools/Tools.java`), since starting one takes seconds.

use crate::broker::{Broker, root};
use crate::clients::installed;
use crate::process::{PATIENCE, program};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

const TOOLS: &str = "org.apache.kafka.tools";

/// The tools, and the broker that they ask.
struct Tools {
    broker: Broker,
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
}

impl Tools {
    fn start() -> Self {
        let tools = root().join("tests/tools");
        let mut child = program("java")
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx256m"])
            .arg(format!("-Dlog4j2.configurationFile=file:{}/log4j2.properties", tools.display()))
            .args(["-cp", &format!("{}/*", installed("TEST_KAFKA_LIBS"))])
            .arg(tools.join("Tools.java"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Java can be started");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // A failed test stops listening.
                drop(sender.send(serde_json::from_str(&line).expect("it prints JSON lines")));
            }
        });
        let input = child.stdin.take().expect("piped");
        Self { broker: Broker::start(), child, input, answers }
    }

    /// The exit code of a tool, and what it said. Arguments stand as one would type them.
    #[track_caller]
    fn ask(&mut self, tool: &str, arguments: &str, input: &str) -> (i64, String) {
        let tool = match tool.contains('.') && !tool.starts_with("consumer.") {
            true => tool.to_owned(),
            false => format!("{TOOLS}.{tool}"),
        };
        let address = self.broker.kafka();
        let mut all = vec!["--bootstrap-server", &address];
        all.extend(arguments.split_whitespace());
        let line = json!({ "tool": tool, "arguments": all, "input": input });
        writeln!(self.input, "{line}").expect("it reads");
        let answer = self.answers.recv_timeout(PATIENCE);
        let answer = answer.unwrap_or_else(|error| panic!("{tool} {arguments}: {error}"));
        let said = answer["said"].as_str().expect("a text").to_owned();
        (answer["status"].as_i64().expect("a number"), said)
    }

    /// Runs a tool that succeeds and says all of these.
    #[track_caller]
    fn check(&mut self, tool: &str, arguments: &str, expected: &[&str]) -> String {
        self.check_with(tool, arguments, "", expected)
    }

    #[track_caller]
    fn check_with(
        &mut self,
        tool: &str,
        arguments: &str,
        input: &str,
        expected: &[&str],
    ) -> String {
        let (status, said) = self.ask(tool, arguments, input);
        assert_eq!(status, 0, "{tool} {arguments}: {said}");
        // Columns are as wide as what stands in them.
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in expected {
            assert!(words.contains(part), "{tool} {arguments}: no {part:?} in\n{said}");
        }
        said
    }

    /// Runs a tool that fails and says this.
    #[track_caller]
    fn check_fails(&mut self, tool: &str, arguments: &str, expected: &str) {
        let (status, said) = self.ask(tool, arguments, "");
        assert!(status != 0 || said.contains("Error"), "{tool} {arguments}: {said}");
        assert!(said.contains(expected), "{tool} {arguments}: no {expected:?} in\n{said}");
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn every_tool_of_kafka() {
    let mut tools = Tools::start();
    topics(&mut tools);
    records(&mut tools);
    groups(&mut tools);
    configs(&mut tools);
    transactions(&mut tools);
    cluster(&mut tools);
    acls(&mut tools);
}

fn topics(tools: &mut Tools) {
    let tool = "TopicCommand";
    let create = "--create --topic flights --partitions 3 --config retention.ms=86400000";
    tools.check(tool, create, &["Created topic flights"]);
    tools.check_fails(tool, create, "exists");
    tools.check(tool, "--create --if-not-exists --topic flights", &[]);
    tools.check(tool, "--list", &["flights"]);
    let described = ["PartitionCount: 3", "ReplicationFactor: 1", "retention.ms=86400000"];
    tools.check(tool, "--describe --topic flights", &described);
    tools.check(tool, "--alter --topic flights --partitions 4", &[]);
    tools.check(tool, "--describe --topic flights", &["PartitionCount: 4", "Partition: 3 Leader:"]);
    tools.check(tool, "--describe --topics-with-overrides", &["Topic: flights"]);
    tools.check(tool, "--create --topic gone --partitions 1", &[]);
    tools.check(tool, "--delete --topic gone", &[]);
    tools.check_fails(tool, "--describe --topic gone", "does not exist");
}

fn records(tools: &mut Tools) {
    let lines: String = (0..10).map(|n| format!("key{n}:value{n}\n")).collect();
    let keyed =
        "--topic flights --reader-property parse.key=true --reader-property key.separator=:";
    tools.check_with("ConsoleProducer", keyed, &lines, &[]);
    let all: Vec<String> = (0..10).map(|n| format!("key{n}->value{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let read = "--topic flights --from-beginning --max-messages 10 --timeout-ms 30000 \
                --formatter-property print.key=true --formatter-property key.separator=->";
    tools.check("consumer.ConsoleConsumer", read, &all);
    let said = tools.check("GetOffsetShell", "--topic flights", &["flights:0:", "flights:3:"]);
    let ends = said.lines().filter_map(|line| line.rsplit(':').next()?.trim().parse::<i64>().ok());
    assert_eq!(ends.sum::<i64>(), 10, "{said}");
    tools.check("GetOffsetShell", "--topic flights --time earliest", &["flights:0:0"]);

    tools.check("TopicCommand", "--create --topic counted --partitions 1", &[]);
    let produce = "--topic counted --max-messages 500 --acks -1";
    // It sums up when its process ends; that all are there, the consumer sees.
    tools.check("VerifiableProducer", produce, &["startup_complete"]);
    let consume = "--topic counted --group-id verifiable --max-messages 500 \
                   --reset-policy earliest --verbose";
    tools.check("VerifiableConsumer", consume, &["records_consumed", "shutdown_complete"]);
    tools.check("GetOffsetShell", "--topic-partitions counted:0", &["counted:0:500"]);
    let file = tools.broker.data_dir().with_file_name("delete.json");
    let delete = json!({ "version": 1, "partitions":
        [{ "topic": "counted", "partition": 0, "offset": 120 }] });
    std::fs::write(&file, delete.to_string()).expect("ours");
    let delete = format!("--offset-json-file {}", file.display());
    tools.check("DeleteRecordsCommand", &delete, &["partition: counted-0 low_watermark: 120"]);
    let from = "--topic-partitions counted:0 --time -2";
    tools.check("GetOffsetShell", from, &["counted:0:120"]);
}

fn groups(tools: &mut Tools) {
    let tool = "consumer.group.ConsumerGroupCommand";
    let read = "--topic flights --group readers --from-beginning --max-messages 10 \
                --timeout-ms 30000";
    tools.check("consumer.ConsoleConsumer", read, &["value0"]);
    tools.check(tool, "--list", &["readers", "verifiable"]);
    tools.check(tool, "--describe --group verifiable", &["verifiable counted 0 500 500 0"]);
    tools.check(tool, "--describe --group readers --state", &["Empty"]);
    let reset = "--reset-offsets --group verifiable --topic counted --to-offset 200";
    tools.check(tool, &format!("{reset} --dry-run"), &["verifiable counted 0 200"]);
    tools.check(tool, "--describe --group verifiable", &["verifiable counted 0 500 500 0"]);
    tools.check(tool, &format!("{reset} --execute"), &["verifiable counted 0 200"]);
    tools.check(tool, "--describe --group verifiable", &["verifiable counted 0 200 500 300"]);
    for (to, expected) in [
        ("--to-earliest", "verifiable counted 0 120"),
        ("--to-latest", "verifiable counted 0 500"),
        ("--shift-by -10", "verifiable counted 0 490"),
        ("--to-datetime 2000-01-01T00:00:00.000", "verifiable counted 0 120"),
    ] {
        let reset = format!("--reset-offsets --group verifiable --topic counted {to} --execute");
        tools.check(tool, &reset, &[expected]);
    }
    tools.check(tool, "--delete-offsets --group readers --topic flights", &["Successful"]);
    tools.check(tool, "--delete --group verifiable", &["was successful"]);
    tools.check_fails(tool, "--delete --group verifiable", "GroupIdNotFoundException");
    tools.check("GroupsCommand", "--list", &["readers"]);
}

fn configs(tools: &mut Tools) {
    let tool = "kafka.admin.ConfigCommand";
    let topic = "--entity-type topics --entity-name flights";
    tools.check(tool, &format!("--alter {topic} --add-config max.message.bytes=2000000"), &[]);
    tools.check(tool, &format!("--describe {topic}"), &["max.message.bytes=2000000"]);
    tools.check(tool, &format!("--alter {topic} --delete-config max.message.bytes"), &[]);
    let said = tools.check(tool, &format!("--describe {topic}"), &["retention.ms=86400000"]);
    assert!(!said.contains("max.message.bytes=2000000 "), "{said}");
    let wrong = format!("--alter {topic} --add-config no.such=1");
    tools.check_fails(tool, &wrong, "no.such");
    let user = "--entity-type clients --entity-name loader";
    tools.check(tool, &format!("--alter {user} --add-config producer_byte_rate=1000000"), &[]);
    tools.check(tool, &format!("--describe {user}"), &["producer_byte_rate=1000000"]);
    tools.check(tool, &format!("--alter {user} --delete-config producer_byte_rate"), &[]);
}

fn transactions(tools: &mut Tools) {
    let tool = "TransactionsCommand";
    tools.check(tool, "list", &["TransactionalId", "Coordinator"]);
    let producers = "describe-producers --topic counted --partition 0";
    tools.check(tool, producers, &["ProducerId", "LastSequence"]);
    tools.check(tool, "find-hanging --broker-id 1", &["Topic"]);
}

fn cluster(tools: &mut Tools) {
    tools.check("BrokerApiVersionsCommand", "", &["Produce(0):", "Fetch(1):"]);
    tools.check(
        "LogDirsCommand",
        "--describe --topic-list counted",
        &["\"partition\":\"counted-0\""],
    );
    tools.check("FeatureCommand", "describe", &["transaction.version"]);
    let said = tools.ask("ReplicaVerificationTool", "--help", "").1;
    assert!(!said.is_empty());
}

fn acls(tools: &mut Tools) {
    let tool = "AclCommand";
    let add = "--add --allow-principal User:ann --operation Read --topic flights";
    tools.check(tool, add, &["ResourcePattern(resourceType=TOPIC, name=flights"]);
    let consumer = "--add --allow-principal User:bob --consumer --topic flights --group bobs";
    tools.check(tool, consumer, &["GROUP", "bobs"]);
    tools.check(tool, "--list", &["User:ann", "User:bob"]);
    let list = "--list --principal User:ann";
    let said = tools.check(tool, list, &["principal=User:ann, host=*, operation=READ"]);
    assert!(!said.contains("User:bob"), "{said}");
    let remove = "--remove --force --allow-principal User:ann --operation Read --topic flights";
    tools.check(tool, remove, &[]);
    let said = tools.check(tool, "--list --topic flights", &["User:bob"]);
    assert!(!said.contains("User:ann"), "{said}");
    tools.check(tool, "--remove --force --group bobs", &[]);
}
