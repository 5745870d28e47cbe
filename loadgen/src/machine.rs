//! What this machine gives at best: no broker on it can be quicker.

use crate::args::MachineArgs;
use crate::error::Error;
use comfy_table::{Cell, CellAlignment};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of one large write.
const LARGE: usize = 4 << 20;
/// Bytes of one small write: a block.
const SMALL: usize = 4096;
/// Bytes of a file that is written over and over.
const FILE_BYTES: u64 = 256 << 20;
/// Bytes sent at a time over the loopback.
const PIECE: usize = 64 << 10;

/// One limit.
#[derive(Debug, serde::Serialize)]
struct Limit {
    what: &'static str,
    value: f64,
    unit: &'static str,
}

#[expect(clippy::print_stdout, reason = "the result is what the program is for")]
pub(crate) fn run(args: &MachineArgs) -> Result<(), Error> {
    let path = args.dir.join("anabranch-loadgen-machine");
    let span = Duration::from_secs_f64(args.duration);
    let result = measure(&path, span);
    // Whatever happened.
    let removed = std::fs::remove_file(&path);
    let limits = result.map_err(|source| Error::Write { path: path.clone(), source })?;
    removed.map_err(|source| Error::Write { path, source })?;
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["this machine", "", ""]);
    for limit in &limits {
        let value = Cell::new(format!("{:.0}", limit.value)).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(limit.what), value, Cell::new(limit.unit)]);
    }
    println!("{table}");
    if let Some(path) = &args.json {
        let write = |source| Error::Write { path: path.clone(), source };
        let text = serde_json::to_string_pretty(&limits).map_err(|error| write(error.into()))?;
        std::fs::write(path, text + "\n").map_err(write)?;
    }
    Ok(())
}

fn measure(path: &Path, span: Duration) -> std::io::Result<Vec<Limit>> {
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
    let mb = |rate: f64, bytes: usize| rate * bytes as f64 / 1e6;
    // Not zeros, which some disks do not write.
    let large: Vec<u8> = (0..LARGE).map(|at| (at * 31 % 251) as u8).collect();
    let synced = rate(span, |at| write(&file, &large, at, true))?;
    let small = rate(span, |at| write(&file, &large[..SMALL], at, true))?;
    let cached = rate(span, |at| write(&file, &large, at, false))?;
    file.sync_data()?;
    let (bytes, trips) = (loopback(span, PIECE, 0)?, loopback(span, 1, 1)?);
    Ok(vec![
        Limit { what: "page cache, written", value: mb(cached, LARGE), unit: "MB/s" },
        Limit { what: "disk, 4 MB a fdatasync", value: mb(synced, LARGE), unit: "MB/s" },
        Limit { what: "disk, 4 KB a fdatasync", value: small, unit: "syncs/s" },
        Limit { what: "loopback, one connection", value: mb(bytes, PIECE), unit: "MB/s" },
        Limit { what: "loopback, one byte there and back", value: trips, unit: "round trips/s" },
    ])
}

/// How often `act` can be done a second.
fn rate(span: Duration, mut act: impl FnMut(u64) -> std::io::Result<()>) -> std::io::Result<f64> {
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < span {
        act(done)?;
        done += 1;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

fn write(file: &File, bytes: &[u8], number: u64, synced: bool) -> std::io::Result<()> {
    let at = number * bytes.len() as u64 % FILE_BYTES;
    file.write_all_at(bytes, at)?;
    if synced { file.sync_data() } else { Ok(()) }
}

/// Sends `there` bytes and waits for `back`, over and over: how often a second.
fn loopback(span: Duration, there: usize, back: usize) -> std::io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let other = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; there];
        loop {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..back])?;
        }
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let piece = vec![7; there];
    let mut answer = vec![0; back];
    let done = rate(span, |_| {
        stream.write_all(&piece)?;
        stream.read_exact(&mut answer)
    })?;
    drop(stream);
    other.join().expect("it does not panic")?;
    Ok(done)
}
