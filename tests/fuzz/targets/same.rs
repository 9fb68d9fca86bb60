//! Tensors that are the same to the bit, NaN included.

use switchback::inference::answer::{Content, Output};
use switchback::inference::raw;
use switchback::inference::tensor::Tensor;

fn bits(tensor: &Tensor) -> Vec<u8> {
    let mut out = Vec::new();
    raw::encode(tensor.data(), &mut out);
    assert_eq!(out.len(), raw::size(tensor.data()));
    out
}

/// Holds that two readers found the same tensors.
pub fn tensors<'a>(ours: &[Tensor], theirs: impl IntoIterator<Item = &'a Tensor>) {
    let mut theirs = theirs.into_iter();
    for our in ours {
        let their = theirs.next().expect("as many tensors");
        assert_eq!((our.name(), our.shape(), our.dtype()), (their.name(), their.shape(), their.dtype()));
        assert_eq!(bits(our), bits(their), "{}", our.name());
    }
    assert!(theirs.next().is_none(), "more tensors");
}

/// Holds that `content`, where it could be read, has these tensors.
pub fn content(ours: &[Tensor], content: &Content) {
    match content {
        Content::Tensors(outputs) => tensors(ours, outputs.iter().map(|output: &Output| &output.tensor)),
        Content::Undecodable { .. } => {}
        other => panic!("tensors were read as {}", other.kind()),
    }
}
