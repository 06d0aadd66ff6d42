use super::*;

impl Chunks {
    /// All of them, one behind the other.
    pub(in crate::broker) fn bytes(&self) -> Vec<u8> {
        self.full.iter().flatten().chain(&self.last).copied().collect()
    }

    fn count(&self) -> usize {
        self.full.len() + usize::from(!self.last.is_empty())
    }
}

/// Small frames with bodies between them that are chunks of their own.
fn mixed() -> (Chunks, Vec<u8>) {
    let (mut chunks, mut all) = (Chunks::default(), Vec::new());
    for number in 0..5_u8 {
        let small = [number; 7];
        chunks.room(small.len()).extend_from_slice(&small);
        all.extend_from_slice(&small);
        let large = vec![0x80 | number; 11];
        chunks.push(Bytes::from(large.clone()));
        all.extend_from_slice(&large);
    }
    chunks.room(3).extend_from_slice(b"end");
    all.extend_from_slice(b"end");
    (chunks, all)
}

#[test]
fn every_cut_leaves_the_rest() {
    let (_, all) = mixed();
    for first in 0..=all.len() {
        for second in 0..=all.len() - first {
            let (mut chunks, _) = mixed();
            chunks.advance(first);
            chunks.advance(second);
            assert_eq!(chunks.bytes(), all[first + second..], "{first}, then {second}");
            assert_eq!(chunks.len(), all.len() - first - second);
            assert_eq!(chunks.is_empty(), first + second == all.len());
        }
    }
}

#[test]
fn what_comes_behind_a_cut_stands_behind_the_rest() {
    let (_, all) = mixed();
    for cut in 0..=all.len() {
        let (mut waiting, _) = mixed();
        let mut batch = Chunks::default();
        waiting.move_into(&mut batch, usize::MAX);
        assert!(waiting.is_empty() && batch.bytes() == all);
        waiting.room(4).extend_from_slice(b"next");
        batch.advance(cut);
        waiting.put_back(&mut batch);
        assert!(batch.is_empty());
        assert_eq!(waiting.bytes(), [&all[cut..], b"next"].concat(), "cut at {cut}");
        assert_eq!(waiting.len(), all.len() - cut + 4);
    }
}

#[test]
fn a_batch_has_whole_chunks_up_to_its_bound_and_at_least_one() {
    let (mut waiting, all) = mixed();
    let mut seen = Vec::new();
    for most in [0, 1, 18, 19, 1000] {
        let mut batch = Chunks::default();
        waiting.move_into(&mut batch, most);
        assert!(batch.count() == 1 || batch.len() <= most, "{} bytes for {most}", batch.len());
        assert_eq!(seen.len() + batch.len() + waiting.len(), all.len());
        seen.extend(batch.bytes());
    }
    assert_eq!(seen, all);
}

#[test]
fn small_frames_share_a_chunk_and_no_chunk_is_half_empty() {
    let mut chunks = Chunks::default();
    for number in 0..100_000_u32 {
        chunks.room(24).extend_from_slice(&[number as u8; 24]);
    }
    assert!(chunks.count() <= chunks.len() / (CHUNK_BYTES - 24) + 1, "{} chunks", chunks.count());
    assert!(chunks.last.capacity() <= CHUNK_BYTES);
    assert!(chunks.full.iter().all(|chunk| chunk.len() > CHUNK_BYTES - 24));
}

#[test]
fn what_fits_into_no_chunk_has_one_of_its_size() {
    let mut chunks = Chunks::default();
    chunks.room(10).extend_from_slice(&[1; 10]);
    chunks.room(3 * CHUNK_BYTES).extend_from_slice(&vec![2; 3 * CHUNK_BYTES]);
    chunks.room(10).extend_from_slice(&[3; 10]);
    assert_eq!((chunks.count(), chunks.len()), (3, 3 * CHUNK_BYTES + 20));
    let lengths: Vec<_> = chunks.full.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [10, 3 * CHUNK_BYTES]);
}

#[test]
fn an_own_buffer_is_sent_as_it_is() {
    let own = Bytes::from(vec![7; 100]);
    let mut chunks = Chunks::default();
    chunks.push(Bytes::new());
    chunks.push(own.clone());
    assert_eq!(chunks.count(), 1);
    assert_eq!(chunks.slices(usize::MAX)[0].as_ptr(), own.as_ptr());
}

#[test]
fn one_write_takes_so_many_chunks_in_their_order() {
    let mut chunks = Chunks::default();
    for number in 0..40 {
        chunks.push(Bytes::from(vec![number; 2]));
    }
    let mut written = Vec::new();
    while !chunks.is_empty() {
        let slices = chunks.slices(usize::MAX);
        assert!(slices.len() <= Slices::MOST && slices.iter().all(|slice| !slice.is_empty()));
        let taken: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        chunks.advance(taken.len());
        written.extend(taken);
    }
    assert!(written.iter().copied().eq((0..40).flat_map(|number| [number; 2])));
}

#[test]
fn what_is_written_is_free_and_the_last_chunk_is_kept() {
    let (mut chunks, all) = mixed();
    let kept = chunks.last.capacity();
    chunks.advance(all.len());
    assert_eq!((chunks.full.len(), chunks.last.capacity()), (0, kept));
    assert_eq!(chunks.slices(usize::MAX).len(), 0);
}

#[test]
fn who_may_keep_little_has_small_chunks() {
    for (asked, size) in [(0, 2048), (4096, 4096), (10_000, 10_000), (1 << 20, CHUNK_BYTES)] {
        let mut chunks = Chunks::of(asked);
        (0..20_000).for_each(|_| chunks.room(24).extend_from_slice(&[1; 24]));
        assert!(chunks.last.capacity() <= size, "{asked}");
        assert!(chunks.full.iter().all(|chunk| chunk.len() <= size && chunk.len() > size - 24), "{asked}");
        assert_eq!(chunks.len(), 20_000 * 24);
    }
}

/// Answers that just do not fit in pairs, whom nobody reads: what waits takes little more room than it is counted as.
#[test]
fn a_full_chunk_takes_no_more_room_than_what_is_in_it() {
    for frame in [1025, 1500, 11_000, 17_000] {
        let mut chunks = Chunks::of(if frame < 4096 { 2048 } else { CHUNK_BYTES });
        (0..100).for_each(|_| chunks.room(frame).extend_from_slice(&vec![1; frame]));
        let room: usize = chunks.full.drain(..).map(|chunk| Vec::from(chunk).capacity()).sum();
        assert!(room <= 100 * frame * 17 / 16, "{room} bytes for {} of {frame}", 100 * frame);
    }
}

/// A program's own buffer, which panics when it is dropped.
struct Touchy([u8; 4]);

impl AsRef<[u8]> for Touchy {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        panic!("intended");
    }
}

#[test]
fn a_buffer_that_panics_when_it_is_dropped_keeps_nothing_from_being_written() {
    let mut chunks = Chunks::default();
    chunks.push(Bytes::from_owner(Touchy([1; 4])));
    chunks.room(2).extend_from_slice(&[2, 3]);
    chunks.advance(5);
    assert_eq!(chunks.bytes(), [3]);
}
