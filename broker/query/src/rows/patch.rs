//! Changing fields of a JSON object without parsing the others.

use super::print::write_json_string;
use jiter::{Jiter, Peek};

/// The JSON object `old` with `changes` (name, raw JSON) in place of or added to its fields. A
/// value that is no object is replaced by one.
pub(crate) fn patched(old: &[u8], changes: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    if keep_fields(old, changes, &mut out).is_none() {
        out.truncate(1);
    }
    for (name, value) in changes {
        if out.len() > 1 {
            out.push(b',');
        }
        write_json_string(name, &mut out);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}

fn keep_fields(old: &[u8], changes: &[(&str, Vec<u8>)], out: &mut Vec<u8>) -> Option<()> {
    let mut json = Jiter::new(old).with_allow_inf_nan();
    if json.peek().ok()? != Peek::Object {
        return None;
    }
    let mut name = json.known_object().ok()?.map(str::to_owned);
    while let Some(field) = name {
        let peek = json.peek().ok()?;
        let start = json.current_index();
        json.known_skip(peek).ok()?;
        if changes.iter().all(|(changed, _)| *changed != field) {
            if out.len() > 1 {
                out.push(b',');
            }
            write_json_string(&field, out);
            out.push(b':');
            out.extend_from_slice(&old[start..json.current_index()]);
        }
        name = json.next_key().ok()?.map(str::to_owned);
    }
    json.finish().ok()
}
