use super::{Advertise, Bytes, Listen, Override, Settings, load, variable};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// Loads from a file's text, variables and `--set`s.
fn try_load(
    file: &str,
    variables: &[(&str, &str)],
    sets: &[(&str, &str)],
) -> Result<super::Loaded, String> {
    let mut written = tempfile::NamedTempFile::new().expect("a temporary file");
    written.write_all(file.as_bytes()).expect("written");
    let environment = variables.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
    let sets: Vec<Override> = sets
        .iter()
        .map(|(key, value)| Override { key: (*key).to_owned(), value: (*value).to_owned() })
        .collect();
    load(Some(written.path()), environment, &sets)
        .map_err(|error| error.to_string().replace(&written.path().display().to_string(), "FILE"))
}

fn settings(file: &str, variables: &[(&str, &str)], sets: &[(&str, &str)]) -> Settings {
    try_load(file, variables, sets).expect("valid settings").settings
}

#[track_caller]
fn check_error(file: &str, variables: &[(&str, &str)], sets: &[(&str, &str)], expected: &[&str]) {
    let error = try_load(file, variables, sets).expect_err("invalid settings");
    for part in expected {
        assert!(error.contains(part), "{part:?} is missing in {error:?}");
    }
}

#[test]
fn nothing_needs_to_be_set() {
    let defaults = load(None, [], &[]).expect("valid").settings;
    assert_eq!(defaults, Settings::default());
    assert_eq!(defaults.kafka.listen, Listen::loopback(9092));
    assert_eq!(defaults.postgres.listen, Listen::loopback(5433));
    assert_eq!(defaults.web.listen, Listen::loopback(8080));
}

#[test]
fn sizes_and_addresses_make_sense() {
    check_error("[journal]\nfile_bytes = 1\n", &[], &[], &["journal.file_bytes", "1MiB"]);
    check_error("[sql]\nmemory_bytes_max = 0\n", &[], &[], &["sql.memory_bytes_max", "16MiB"]);
    let file = "[kafka]\nlisten = \"127.0.0.1:8080\"\n";
    check_error(file, &[], &[], &["kafka.listen", "web.listen", "127.0.0.1:8080"]);
}

#[test]
fn later_layers_win() {
    let file = "[kafka]\nlisten = \"127.0.0.1:1\"\n[web]\nlisten = \"127.0.0.1:1\"\n[postgres]\n";
    let variables = [("ANABRANCH_KAFKA_LISTEN", "127.0.0.1:2"), ("ANABRANCH_DATA_DIR", "/data")];
    let read = settings(file, &variables, &[("kafka.listen", "[::1]:3")]);
    assert_eq!(String::from(read.kafka.listen), "[::1]:3");
    assert_eq!(read.web.listen, Listen::loopback(1));
    assert_eq!(read.data_dir, PathBuf::from("/data"));
    let read = settings(file, &variables, &[]);
    assert_eq!(read.kafka.listen, Listen::loopback(2));
}

#[test]
fn text_becomes_the_type_of_the_key() {
    let variables = [
        ("ANABRANCH_STREAMS_AUTO_CREATE", "false"),
        ("ANABRANCH_STREAMS_PARTITIONS", "4"),
        ("ANABRANCH_DISK_RESERVE_BYTES", "1000"),
        ("ANABRANCH_WEB_LISTEN", "off"),
    ];
    let read = settings("", &variables, &[]);
    assert!(!read.streams.auto_create);
    assert_eq!(read.streams.partitions.get(), 4);
    assert_eq!(read.disk.reserve_bytes.get(), 1000);
    assert_eq!(read.web.listen, Listen::Off);
    let listed = [("ANABRANCH_WEB_ALLOWED_ORIGINS", "https://a.example, https://b.example")];
    let origins = settings("", &listed, &[]).web.allowed_origins;
    assert_eq!(origins, ["https://a.example", "https://b.example"]);
    assert_eq!(settings("disk.reserve_bytes = 7", &[], &[]).disk.reserve_bytes.get(), 7);
    check_error(
        "",
        &[("ANABRANCH_STREAMS_AUTO_CREATE", "yes")],
        &[],
        &["ANABRANCH_STREAMS_AUTO_CREATE", "`streams.auto_create`", "\"yes\" is not a boolean"],
    );
}

#[test]
fn unknown_keys_are_errors_that_suggest() {
    check_error(
        "[kafka]\nlistn = \"127.0.0.1:1\"",
        &[],
        &[],
        &["FILE", "`kafka.listn`", "did you mean `kafka.listen`?"],
    );
    check_error("colour = 1", &[], &[], &["`colour`", "there are", "kafka.listen", "data_dir"]);
    check_error("[kafka.listen]\nport = 1", &[], &[], &["`kafka.listen.port`"]);
    check_error("kafka = 9092", &[], &[], &["`kafka`", "a section with keys", "`kafka.advertise`"]);
    check_error("", &[], &[("kafka.listn", "x")], &["command line", "did you mean `kafka.listen`"]);
    check_error(
        "",
        &[("ANABRANCH_KAFKA_LISTN", "x")],
        &[],
        &["did you mean ANABRANCH_KAFKA_LISTEN"],
    );
}

#[test]
fn variables_that_resemble_no_key_are_only_warned_about() {
    let variables = [
        ("ANABRANCH_SERVICE_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
        ("ANABRANCH_CONFIG", "x"),
        ("PATH", "/bin"),
    ];
    let warnings = try_load("", &variables, &[]).expect("valid").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("ANABRANCH_SERVICE_PORT_9092_TCP"));
}

#[test]
fn wrong_values_name_key_and_remedy() {
    check_error("kafka.listen = 9092", &[], &[], &["FILE", "`kafka.listen`", "string"]);
    check_error("kafka.listen = \"9092\"", &[], &[], &["lacks a host", "127.0.0.1:9092"]);
    check_error("kafka.listen = \"::1:9092\"", &[], &[], &["without [ ]"]);
    check_error("kafka.listen = \"localhost:99999\"", &[], &[], &["0 and 65535"]);
    check_error(
        "kafka.advertise = \"0.0.0.0:9092\"",
        &[],
        &[],
        &["`kafka.advertise`", "no address"],
    );
    check_error("streams.partitions = 0", &[], &[], &["`streams.partitions`", "between 1 and"]);
    check_error("disk.reserve_bytes = \"lots\"", &[], &[], &["`disk.reserve_bytes`", "512MiB"]);
    check_error("disk.reserve_bytes = -1", &[], &[], &["`disk.reserve_bytes`", "negative"]);
    check_error("telemetry.format = \"xml\"", &[], &[], &["`telemetry.format`", "pretty", "json"]);
    check_error("data_dir = \"\"", &[], &[], &["data_dir", "ANABRANCH_DATA_DIR"]);
    check_error("kafka = [", &[], &[], &["FILE is not valid TOML", "line 1"]);
}

#[test]
fn open_doors_are_refused_unless_told_otherwise() {
    let open = "web.listen = \"0.0.0.0:8080\"";
    check_error(open, &[], &[], &["`web.listen`", "allow_insecure = true", "authenticated"]);
    settings(open, &[("ANABRANCH_ALLOW_INSECURE", "true")], &[]);
}

#[test]
fn tls_keys_that_need_each_other_say_so() {
    let check = |tls: &str, expected: &[&str]| check_error(tls, &[], &[], expected);
    check("tls.certificate = \"c.pem\"", &["`tls.certificate` needs `tls.key`"]);
    check("tls.key = \"c.key\"", &["`tls.key` needs `tls.certificate`"]);
    check("tls.required = true", &["`tls.required` needs `tls.certificate`", "leave"]);
    check("tls.client_auth = \"required\"", &["`tls.client_auth` needs `tls.certificate`"]);
    let pair = "tls.certificate = \"c.pem\"\ntls.key = \"c.key\"\n";
    let with = |line: &str| format!("{pair}{line}");
    check(&with("tls.client_auth = \"requested\""), &["needs `tls.client_ca`", "authorities"]);
    check(&with("tls.client_ca = \"ca.pem\""), &["`tls.client_ca` needs `tls.client_auth`"]);
    check("tls.client_auth = \"maybe\"", &["`tls.client_auth`", "requested", "required"]);
    settings(pair, &[], &[]);
}

#[test]
fn sizes() {
    let check = |text: &str, bytes: u64, printed: &str| {
        let size: Bytes = text.parse().expect("a size");
        assert_eq!((size.get(), size.to_string().as_str()), (bytes, printed), "{text}");
    };
    check("0", 0, "0");
    check("17", 17, "17");
    check("512 mib", 512 << 20, "512MiB");
    check("1024KiB", 1 << 20, "1MiB");
    check("3GB", 3_000_000_000, "3GB");
    for wrong in ["", "MiB", "-1", "1.5GiB", "99999999999999TiB", "1XB"] {
        assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
    }
}

#[test]
fn addresses_survive_printing() {
    for text in ["127.0.0.1:9092", "[::1]:0", "broker.example:1", "off"] {
        let listen = Listen::try_from(text.to_owned()).expect("an address");
        assert_eq!(String::from(listen), text);
    }
    assert_eq!(Advertise::try_from("auto".to_owned()), Ok(Advertise::Auto));
    assert_eq!(variable("disk.reserve_bytes"), "ANABRANCH_DISK_RESERVE_BYTES");
}

/// What `check-config` prints is a configuration that says the same.
#[test]
fn printed_settings_can_be_read_again() {
    let sets = [("streams.partitions", "9"), ("disk.reserve_bytes", "1GB"), ("web.listen", "off")];
    let loaded = try_load("", &[("ANABRANCH_KAFKA_ADVERTISE", "here:1")], &sets).expect("valid");
    let printed = loaded.to_toml();
    assert!(printed.contains("# ANABRANCH_KAFKA_ADVERTISE"), "{printed}");
    assert_eq!(settings(&printed, &[], &[]), loaded.settings);
}

/// The sample shows every key with its default, commented out.
#[test]
fn the_sample_shows_every_default() {
    let sample = include_str!("../../../../config/anabranch.toml");
    assert_eq!(settings(sample, &[], &[]), Settings::default(), "nothing in it is set");
    let set: String = sample
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut loaded = try_load(&set, &[], &[]).expect("a valid sample");
    assert!(loaded.settings.data_dir.ends_with(".local/share/anabranch"));
    loaded.settings.data_dir = Settings::default().data_dir;
    assert_eq!(loaded.settings, Settings::default());
    assert!(!loaded.to_toml().contains("# default"), "a key is missing: {}", loaded.to_toml());
}
