//! The order of variants in which all divisions of a flag lie side by side as they were written.

/// Indexes of `count` variants, such that each of `orders` keeps its order; where that leaves a choice, those in
/// front stay in front. `None` where two orders contradict each other.
pub(super) fn common_order(count: usize, orders: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut placed = vec![false; count];
    let mut order = Vec::with_capacity(count);
    while order.len() < count {
        let is_free = |variant: usize| {
            orders.iter().all(|order| {
                let before = order.iter().position(|&other| other == variant).unwrap_or(0);
                order[..before].iter().all(|&other| placed[other])
            })
        };
        let next = (0..count).find(|&variant| !placed[variant] && is_free(variant))?;
        placed[next] = true;
        order.push(next);
    }
    Some(order)
}

#[cfg(test)]
mod tests {
    use super::common_order;

    #[track_caller]
    fn check(count: usize, orders: &[&[usize]], expected: Option<&[usize]>) {
        let orders: Vec<Vec<usize>> = orders.iter().map(|order| order.to_vec()).collect();
        assert_eq!(common_order(count, &orders).as_deref(), expected, "{orders:?}");
    }

    #[test]
    fn divisions_lie_in_the_order_of_the_variants() {
        check(3, &[], Some(&[0, 1, 2]));
        check(3, &[&[2, 0]], Some(&[1, 2, 0]));
        check(4, &[&[3, 1], &[1, 0]], Some(&[2, 3, 1, 0]));
        check(2, &[&[0, 1], &[1, 0]], None);
        check(3, &[&[0, 1], &[1, 2], &[2, 0]], None);
    }
}
