//! The binary form of COPY: a head, and rows of values with their lengths (PostgreSQL 15, COPY,
//! "Binary Format").

use super::lines::bad;
use anabranch_query::SqlError;

/// What a binary COPY begins with.
pub(super) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// In the flags: whether rows have oids, which they have not since PostgreSQL 12.
const HAS_OIDS: u32 = 1 << 16;

/// What is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Rows,
    /// Behind the row of −1 fields.
    Behind,
}

/// What stands in front.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// The fields of a row, `None` for null, and how many bytes it takes.
    Row(Vec<Option<&'a [u8]>>, usize),
    /// The head, or the end, of so many bytes.
    Mark(usize),
    More,
}

/// Reads rows.
#[derive(Debug)]
pub(super) struct Rows {
    columns: usize,
    state: State,
}

impl Rows {
    pub(super) fn new(columns: usize) -> Self {
        Self { columns, state: State::Head }
    }

    /// What `input` begins with. `is_all`: nothing comes behind it.
    pub(super) fn find<'a>(
        &mut self,
        input: &'a [u8],
        is_all: bool,
    ) -> Result<Found<'a>, SqlError> {
        let found = match self.state {
            State::Head => head(input)?.map(Found::Mark),
            State::Rows if input.is_empty() => None,
            State::Rows => self.row(input)?,
            State::Behind if input.is_empty() => None,
            State::Behind => return Err(bad("received copy data after EOF marker")),
        };
        match found {
            Some(found) => {
                self.state = match (&found, self.state) {
                    (Found::Mark(_), State::Rows) => State::Behind,
                    (_, State::Head) => State::Rows,
                    (_, state) => state,
                };
                Ok(found)
            }
            None if is_all && self.state == State::Head => {
                Err(bad("COPY file signature not recognized"))
            }
            None if is_all && !input.is_empty() => Err(bad("unexpected EOF in COPY data")),
            None => Ok(Found::More),
        }
    }

    fn row<'a>(&self, input: &'a [u8]) -> Result<Option<Found<'a>>, SqlError> {
        let mut rest = input;
        let Some(count) = take::<2>(&mut rest).map(i16::from_be_bytes) else {
            return Ok(None);
        };
        if count == -1 {
            return Ok(Some(Found::Mark(2)));
        }
        if usize::try_from(count).ok() != Some(self.columns) {
            return Err(bad(format!("row field count is {count}, expected {}", self.columns)));
        }
        let mut fields = Vec::with_capacity(self.columns);
        for _ in 0..self.columns {
            let Some(length) = take::<4>(&mut rest).map(i32::from_be_bytes) else {
                return Ok(None);
            };
            if length == -1 {
                fields.push(None);
                continue;
            }
            let length = usize::try_from(length).map_err(|_| bad("invalid field size"))?;
            let Some((field, behind)) = rest.split_at_checked(length) else {
                return Ok(None);
            };
            fields.push(Some(field));
            rest = behind;
        }
        Ok(Some(Found::Row(fields, input.len() - rest.len())))
    }
}

/// How many bytes the head has, once it is there.
fn head(input: &[u8]) -> Result<Option<usize>, SqlError> {
    let compared = input.len().min(SIGNATURE.len());
    if input[..compared] != SIGNATURE[..compared] {
        return Err(bad("COPY file signature not recognized"));
    }
    let mut rest = &input[compared..];
    let Some(flags) = take::<4>(&mut rest).map(u32::from_be_bytes) else {
        return Ok(None);
    };
    if flags & HAS_OIDS != 0 {
        return Err(bad("invalid COPY file header (WITH OIDS)"));
    }
    if flags >> 16 != 0 {
        return Err(bad("unrecognized critical flags in COPY file header"));
    }
    let Some(length) = take::<4>(&mut rest).map(i32::from_be_bytes) else {
        return Ok(None);
    };
    let length =
        usize::try_from(length).map_err(|_| bad("invalid COPY file header (missing length)"))?;
    Ok((rest.len() >= length).then(|| input.len() - rest.len() + length))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}
