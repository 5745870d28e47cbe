//! `anabranch backup` and `anabranch restore`.

use crate::cli::{BackupArgs, RestoreArgs};
use crate::control::{self, Answer, Request, Summary};
use crate::serve::{JournalDamage, engine_settings};
use crate::settings::Settings;
use anabranch_engine::{Backup, Engine};
use std::error::Error;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Makes a backup: the running broker does it, or, if none runs, this process.
pub(crate) fn back_up(settings: &Settings, args: &BackupArgs) -> Result<(), Box<dyn Error>> {
    if let Some(backup) = &args.verify {
        let manifest = anabranch_engine::verify_backup(backup)?;
        return say("sound", &Summary::from(&manifest), args.json);
    }
    let Some(to) = &args.to else { return Err("name a directory: --to DIRECTORY".into()) };
    let to = std::path::absolute(to)?;
    let bytes_per_second = args.rate.map(crate::settings::Bytes::get);
    let summary = match UnixStream::connect(control::path(&settings.data_dir)) {
        Ok(socket) => ask(socket, &Request::Backup { to, bytes_per_second })?,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            alone(settings, &to, bytes_per_second)?
        }
        Err(error) => {
            let path = control::path(&settings.data_dir);
            return Err(format!(
                "cannot ask the broker at {}: {error}; run this as the broker's user",
                path.display()
            )
            .into());
        }
    };
    say("made", &summary, args.json)
}

/// Makes a data directory of a backup.
pub(crate) fn restore(settings: &Settings, args: &RestoreArgs) -> Result<(), Box<dyn Error>> {
    let data_dir = args.data_dir.as_deref().unwrap_or(&settings.data_dir);
    let manifest = anabranch_engine::restore(&args.from, data_dir)?;
    say("restored", &Summary::from(&manifest), args.json)
}

fn say(what: &str, summary: &Summary, json: bool) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    if json {
        serde_json::to_writer(&mut out, summary)?;
        return Ok(writeln!(out)?);
    }
    let Summary { round, files, bytes } = summary;
    Ok(writeln!(out, "{what}: {bytes} bytes in {files} files, everything up to round {round}")?)
}

/// Has the running broker do it.
fn ask(mut socket: UnixStream, request: &Request) -> Result<Summary, Box<dyn Error>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    for line in BufReader::new(socket).lines() {
        match serde_json::from_str(&line?)? {
            Answer::Progress { copied, all } => show_progress(copied, all),
            Answer::Made(summary) => return Ok(summary),
            Answer::Failed { message } => return Err(message.into()),
        }
    }
    Err("the broker ended before the backup was made".into())
}

/// Opens the data directory as a broker does, without doors.
fn alone(
    settings: &Settings,
    to: &Path,
    bytes_per_second: Option<u64>,
) -> Result<Summary, Box<dyn Error>> {
    if !settings.data_dir.exists() {
        return Err(format!("there is no data directory {}", settings.data_dir.display()).into());
    }
    let engine = Engine::open(engine_settings(settings, JournalDamage::Refuse))?;
    let progress = |copied, all| {
        show_progress(copied, all);
        true
    };
    let made = engine.own_session().back_up(&Backup { to, bytes_per_second, progress: &progress });
    engine.stop();
    Ok(Summary::from(&made?))
}

fn show_progress(copied: u64, all: u64) {
    let mut out = io::stderr();
    if out.is_terminal() && all > 0 {
        // It is only shown; the end says what counts.
        let _ = write!(out, "\r{}% of {all} bytes ", copied.saturating_mul(100) / all);
    }
}
