use super::lines::{Found, Lines};
use super::read::Reader;
use anabranch_query::{CopyFormat, CopyHeader, CopyOptions, Forced, SqlError};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use std::sync::Arc;

fn text() -> CopyOptions {
    CopyOptions {
        format: CopyFormat::Text,
        delimiter: b'\t',
        null: "\\N".to_owned(),
        header: CopyHeader::None,
        quote: b'"',
        escape: b'"',
        force_quote: Forced::Nothing,
        force_not_null: Forced::Nothing,
        force_null: Forced::Nothing,
    }
}

fn csv() -> CopyOptions {
    CopyOptions { format: CopyFormat::Csv, delimiter: b',', null: String::new(), ..text() }
}

fn columns(count: usize) -> SchemaRef {
    let names = ["a", "b", "c"];
    let fields = names[..count].iter().map(|name| Field::new(*name, DataType::Utf8View, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows as their fields between `|`, `NULL` for null, with the line in front.
fn read(options: &CopyOptions, count: usize, pieces: &[&[u8]]) -> Result<Vec<String>, SqlError> {
    let mut reader = Reader::new("t", &columns(count), options);
    let mut shown = Vec::new();
    let mut take = |reader: &mut Reader| {
        while let Some(rows) = reader.next_rows()? {
            for (row, line) in rows.lines.iter().enumerate() {
                let cells = rows.batch.columns().iter().map(|array| match array.is_null(row) {
                    true => "NULL".to_owned(),
                    false => array.as_string_view().value(row).to_owned(),
                });
                shown.push(format!("{line}: {}", cells.collect::<Vec<_>>().join("|")));
            }
        }
        Ok::<_, SqlError>(())
    };
    for piece in pieces {
        reader.push(piece)?;
        take(&mut reader)?;
    }
    reader.end();
    take(&mut reader)?;
    Ok(shown)
}

/// The same, cut everywhere: the rows are the same wherever they are cut.
#[track_caller]
fn check(options: &CopyOptions, count: usize, input: &[u8], expected: &[&str]) {
    for cut in 0..=input.len() {
        let found = read(options, count, &[&input[..cut], &input[cut..]]);
        assert_eq!(found.expect("rows"), expected, "cut at {cut}");
    }
    let bytes: Vec<_> = input.chunks(1).collect();
    assert_eq!(read(options, count, &bytes).expect("rows"), expected, "byte by byte");
}

#[track_caller]
fn refused(options: &CopyOptions, count: usize, input: &[u8], code: &str, words: &str) {
    for pieces in [vec![input], input.chunks(1).collect()] {
        let error = read(options, count, &pieces).expect_err("an error");
        let said = format!("{} ({})", error.message, error.context.unwrap_or_default());
        assert_eq!((error.sqlstate, said.as_str()), (code, words));
    }
}

#[test]
fn text_is_read_with_its_escapes() {
    check(&text(), 2, b"1\tx\n2\t\\N\n3\t", &["1: 1|x", "2: 2|NULL", "3: 3|"]);
    check(&text(), 2, b"a\\tb\t\\b\\f\\n\\r\\t\\v\n", &["1: a\tb|\x08\x0c\n\r\t\x0b"]);
    check(&text(), 1, b"\\101\\x42\\x4\\7\\8\\q\\\\\n", &["1: AB\x04\x078q\\"]);
    check(&text(), 1, b"\\xc3\\xa4\\303\\244\\xg\n", &["1: \u{e4}\u{e4}xg"]);
    // A delimiter, and a line's end, behind a backslash are data.
    check(&text(), 2, b"a\\\tb\tc\\\nd\n", &["1: a\tb|c\nd"]);
    check(&text(), 1, b"\n\\\\N\n\\N\\N\n", &["1: ", "2: \\N", "3: NN"]);
    check(&text(), 1, b"a\r\nb\r\n", &["1: a", "2: b"]);
    check(&text(), 1, b"a\rb\r", &["1: a", "2: b"]);
    check(&text(), 1, b"", &[]);
}

#[test]
fn a_backslash_and_a_point_end_the_text() {
    check(&text(), 1, b"a\n\\.\nb\n", &["1: a"]);
    check(&text(), 1, b"a\n\\.", &["1: a"]);
    check(&text(), 1, b"a\r\n\\.\r\nnot\tlooked\tat", &["1: a"]);
    check(&text(), 1, b"a\nb\\.\n", &["1: a", "2: b"]);
    let corrupt = "end-of-copy marker corrupt (COPY t, line 2)";
    refused(&text(), 1, b"a\n\\.b\n", "22P04", corrupt);
    let style = "end-of-copy marker does not match previous newline style (COPY t, line 2)";
    refused(&text(), 1, b"a\r\n\\.\n", "22P04", style);
}

#[test]
fn what_is_wrong_with_text_is_told_with_its_line() {
    let extra = "extra data after last expected column (COPY t, line 2: \"1\t2\t3\")";
    refused(&text(), 2, b"1\t2\n1\t2\t3\n", "22P04", extra);
    let missing = "missing data for column \"b\" (COPY t, line 1: \"1\")";
    refused(&text(), 2, b"1\n", "22P04", missing);
    let mixed = "literal carriage return found in data (COPY t, line 2)";
    refused(&text(), 1, b"a\nb\rc\n", "22P04", mixed);
    let mixed = "literal newline found in data (COPY t, line 2)";
    refused(&text(), 1, b"a\r\nb\nc\n", "22P04", mixed);
    let bytes = "invalid byte sequence for encoding \"UTF8\": 0xff (COPY t, line 1: \"\u{fffd}\")";
    refused(&text(), 1, b"\xff\n", "22021", bytes);
    let zero = "invalid byte sequence for encoding \"UTF8\": 0x00 (COPY t, line 1: \"\\000\")";
    refused(&text(), 1, b"\\000\n", "22021", zero);
}

#[test]
fn csv_is_read_with_its_quotes() {
    check(&csv(), 3, b"1,,\"\"\n", &["1: 1|NULL|"]);
    check(&csv(), 2, b"\"a,b\",\"say \"\"hi\"\"\"\n", &["1: a,b|say \"hi\""]);
    check(&csv(), 2, b"\"two\nlines\",x\nlast,y\n", &["2: two\nlines|x", "3: last|y"]);
    check(&csv(), 2, b"\"a\r\nb\",x\r\nc,d\r\n", &["2: a\r\nb|x", "3: c|d"]);
    check(&csv(), 1, b"a\"b,c\"d\n\n", &["1: ab,cd", "2: NULL"]);
    check(&csv(), 2, b" a , b \n", &["1:  a | b "]);
    // Backslashes are nothing special, but for the end of all.
    check(&csv(), 1, b"a\\n\\.\n\\.\nb\n", &["1: a\\n\\."]);
    check(&csv(), 1, b"\"\\.\"\n\\.x\n", &["1: \\.", "2: \\.x"]);
    let escaped = CopyOptions { quote: b'\'', escape: b'\\', ..csv() };
    check(&escaped, 2, b"'it\\'s, \\\\ \\n',x\n", &["1: it's, \\ \\n|x"]);
    let forced = CopyOptions {
        null: "-".to_owned(),
        force_null: Forced::These(vec!["a".to_owned()]),
        force_not_null: Forced::These(vec!["b".to_owned()]),
        ..csv()
    };
    check(&forced, 3, b"\"-\",-,\"-\"\n-,-,-\n", &["1: NULL|-|-", "2: NULL|-|NULL"]);
    let open = "unterminated CSV quoted field (COPY t, line 3: \"\"open\n\")";
    refused(&csv(), 1, b"a\n\"open\n", "22P04", open);
    let bare = "unquoted carriage return found in data (COPY t, line 2)";
    refused(&csv(), 1, b"a\nb\rc\n", "22P04", bare);
}

#[test]
fn a_header_is_passed_over_or_compared() {
    let names = CopyOptions { header: CopyHeader::Names, ..csv() };
    check(&names, 2, b"whatever\n1,2\n", &["2: 1|2"]);
    let matching = CopyOptions { header: CopyHeader::Match, ..csv() };
    check(&matching, 2, b"a,\"b\"\n1,2\n", &["2: 1|2"]);
    let count = "wrong number of fields in header line: field count is 1, expected 2 \
                 (COPY t, line 1: \"a\")";
    refused(&matching, 2, b"a\n1,2\n", "22P04", count);
    let name = "column name mismatch in header line field 2: got \"c\", expected \"b\" \
                (COPY t, line 1: \"a,c\")";
    refused(&matching, 2, b"a,c\n1,2\n", "22P04", name);
}

/// Signature, flags, no extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

fn binary() -> CopyOptions {
    CopyOptions { format: CopyFormat::Binary, ..text() }
}

#[test]
fn binary_rows_are_read() {
    let rows: &[u8] = b"\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x02\0\0\0\0\0\0\0\x01y";
    let all = [HEAD, rows, b"\xff\xff"].concat();
    check(&binary(), 2, &all, &["1: x|NULL", "2: |y"]);
    // Without its end, and with an extension in the head.
    check(&binary(), 2, &[HEAD, rows].concat(), &["1: x|NULL", "2: |y"]);
    let extended = [&HEAD[..15], b"\0\0\0\x03abc", rows].concat();
    check(&binary(), 2, &extended, &["1: x|NULL", "2: |y"]);
    let no_head = "COPY file signature not recognized (COPY t, line 1)";
    refused(&binary(), 1, b"", "22P04", no_head);
    refused(&binary(), 1, b"a,b\n", "22P04", no_head);
    let wrong = |rows: &[u8], words: &str| {
        refused(&binary(), 1, &[HEAD, rows].concat(), "22P04", words);
    };
    wrong(b"\0\x02", "row field count is 2, expected 1 (COPY t, line 1)");
    wrong(b"\0\x01\0\0\0\x05x", "unexpected EOF in COPY data (COPY t, line 1)");
    wrong(b"\0\x01\xff\xff\xff\xfe", "invalid field size (COPY t, line 1)");
    wrong(b"\xff\xff\0", "received copy data after EOF marker (COPY t, line 1)");
}

#[test]
fn binary_values_have_their_type_s_length() {
    let field = Field::new("n", DataType::Int32, true);
    let mut reader = Reader::new("t", &Arc::new(Schema::new(vec![field])), &binary());
    reader
        .push(&[HEAD, b"\0\x01\0\0\0\x04\0\0\0\x07\0\x01\xff\xff\xff\xff"].concat())
        .expect("room");
    reader.end();
    let rows = reader.next_rows().expect("rows").expect("two");
    let numbers = rows.batch.column(0).as_primitive::<Int32Type>();
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [Some(7), None]);
    let field = Field::new("n", DataType::Int32, true);
    let mut reader = Reader::new("t", &Arc::new(Schema::new(vec![field])), &binary());
    reader.push(&[HEAD, b"\0\x01\0\0\0\x02\0\x07"].concat()).expect("room");
    let error = reader.next_rows().expect_err("too short");
    assert_eq!(
        (error.sqlstate, error.context.as_deref()),
        ("22P03", Some("COPY t, line 1, column n"))
    );
}

#[test]
fn no_byte_is_looked_at_twice() {
    let mut lines = Lines::text();
    let mut line = vec![b'x'; 1 << 20];
    assert_eq!(lines.find(&line, false).expect("more"), Found::More);
    line.push(b'\n');
    let found = lines.find(&line, false).expect("a line");
    assert_eq!(found, Found::Line { length: 1 << 20, taken: (1 << 20) + 1 });
}
