//! Points in streams: what a reader has seen, so that it can go on after a lost connection without a gap.

use std::fmt;
use std::str::FromStr;

use futures::stream::{Stream, StreamExt as _};
use paas_core::Result;

/// A point after an item. Items have numbers that several of them may share (a revision, a time), so a point is a number
/// and how many items of that number came before: `7.0` is after the first one of number 7, `7` after all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The number.
    pub number: u64,
    /// The index of the last item of that number that was seen; all of them if absent.
    index: Option<u32>,
}

impl Position {
    /// How positions are written, for the description of the interface.
    pub const PATTERN: &str = r"^[0-9]{1,18}(\.[0-9]{1,9})?$";

    /// After everything of `number`.
    pub fn after(number: u64) -> Self {
        Self { number, index: None }
    }

    /// The number that a stream has to begin after, so that no item is missing.
    pub fn begins_after(self) -> u64 {
        match self.index {
            Some(_) => self.number.saturating_sub(1),
            None => self.number,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}.{index}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (before, index) = match text.split_once('.') {
            Some((before, index)) => (before, Some(digits(index, 9)?.parse().map_err(drop)?)),
            None => (text, None),
        };
        Ok(Self { number: digits(before, 18)?.parse().map_err(drop)?, index })
    }
}

/// The same if it is one to `most` digits.
fn digits(text: &str, most: usize) -> std::result::Result<&str, ()> {
    let valid = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if valid { Ok(text) } else { Err(()) }
}

/// The items with their positions, without those that were seen. `items` begins no later than
/// [`Position::begins_after`] says.
pub fn positioned<T, S>(
    items: S,
    seen: Option<Position>,
    number: impl Fn(&T) -> u64 + Send,
) -> impl Stream<Item = Result<(Position, T)>> + Send
where
    T: Send,
    S: Stream<Item = Result<T>> + Send,
{
    let mut last: Option<(u64, u32)> = None;
    items.filter_map(move |item| {
        let positioned = item.map(|item| {
            let number = number(&item);
            let index = last.filter(|(before, _)| *before == number).map_or(0, |(_, index)| index + 1);
            last = Some((number, index));
            let is_new =
                seen.is_none_or(|seen| seen.number != number || seen.index.is_some_and(|seen| seen < index));
            is_new.then_some((Position { number, index: Some(index) }, item))
        });
        std::future::ready(positioned.transpose())
    })
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    async fn read(items: &[(u64, char)], seen: Option<&str>) -> Vec<(String, char)> {
        let seen: Option<Position> = seen.map(|seen| seen.parse().unwrap());
        let from = seen.map_or(0, Position::begins_after);
        let items: Vec<_> = items.iter().copied().filter(|(number, _)| *number > from).map(Ok).collect();
        let read = positioned(stream::iter(items), seen, |item: &(u64, char)| item.0);
        read.map(|item| item.map(|(position, (_, letter))| (position.to_string(), letter)).unwrap())
            .collect()
            .await
    }

    #[tokio::test]
    async fn whoever_goes_on_after_any_item_sees_every_later_one_once() {
        let items = [(3, 'a'), (5, 'b'), (5, 'c'), (5, 'd'), (9, 'e')];
        let all = read(&items, None).await;
        assert_eq!(
            all.iter().map(|(position, _)| &**position).collect::<Vec<_>>(),
            ["3.0", "5.0", "5.1", "5.2", "9.0"]
        );
        for (count, (position, _)) in (1..).zip(&all) {
            assert_eq!(read(&items, Some(position)).await, all[count..], "after {position}");
        }
        assert_eq!(read(&items, Some("5")).await, all[4..]);
        assert_eq!(read(&items, Some("4")).await, all[1..]);
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for wrong in ["", ".", "1.", ".1", "-1", "1.2.3", "1,5", "1234567890123456789", "1.1234567890"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
