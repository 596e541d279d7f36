"""The slow and obvious way to what the library computes, from the definitions alone.

Of a group these functions use the matrices, of a subgroup its element indices; products are matrix products that are
looked up by comparison. No Cayley table, orbit or index table of the library is used.
"""

from functools import cache
from itertools import pairwise, product

import numpy as np
import torch


@cache
def index_images(group, h, representation="regular"):
    """images[g] = the index of h·g; a single zero for a trivial feature."""
    if representation == "trivial":
        return [0]
    known = [matrix.tolist() for matrix in group.elements]
    return [known.index((group.elements[h] @ g).tolist()) for g in group.elements]


@cache
def position_images(group, h, sides):
    """Pairs (position, h·position) in an array of these sides, both measured from its centre; ((), ()) for a vector."""
    if not sides:
        return [((), ())]
    matrix = group.elements[h]
    landing_sides = abs(matrix) @ np.array(sides)
    pairs = []
    for position in product(*map(range, sides)):
        doubled = 2 * np.array(position) - (np.array(sides) - 1)
        landed = (matrix @ doubled + landing_sides - 1) // 2
        pairs.append((position, tuple(int(i) for i in landed)))
    return pairs


def channels_of(group, representation):
    """Channels of one field."""
    return group.order if representation == "regular" else 1


def act(feature, h, group, representation="regular"):
    """(h f)(h x, h g) = f(x, g), one position at a time."""
    fields = feature.unflatten(1, (-1, channels_of(group, representation)))
    sides = tuple(feature.shape[2:])
    landing_sides = (abs(group.elements[h]) @ np.array(sides)).tolist() if sides else []
    moved = fields.new_full((*fields.shape[:3], *landing_sides), torch.nan)
    for position, landed in position_images(group, h, sides):
        moved[(..., *landed)][:, :, index_images(group, h, representation)] = fields[(..., *position)]
    return moved.flatten(1, 2)


@cache
def triple_images(group, h, target, source, sides):
    """The flat index of (hg, hu, h delta) for each triple (g, u, delta), in row-major order."""
    offsets = [np.ravel_multi_index(landed, sides) if sides else 0 for _, landed in position_images(group, h, sides)]
    axes = np.ix_(index_images(group, h, target), index_images(group, h, source), offsets)
    return torch.from_numpy(np.ravel_multi_index(axes, [axis.size for axis in axes]).ravel())


def move_kernel(kernel, h, group, *, source, target):
    """h·W of a dense kernel:  (h·W)[(o, hg), (c, hu)](h delta) = W[(o, g), (c, u)](delta)."""
    split = kernel.unflatten(1, (-1, channels_of(group, source))).unflatten(0, (-1, channels_of(group, target)))
    fields_first = split.movedim(2, 1)  # (o, c, g, u, *delta)
    moved = torch.full_like(fields_first.flatten(2), torch.nan)
    moved[:, :, triple_images(group, h, target, source, tuple(kernel.shape[2:]))] = fields_first.flatten(2)
    return moved.view(fields_first.shape).movedim(1, 2).flatten(2, 3).flatten(0, 1)


def project_kernel(kernel, subgroup, *, source, target):
    """P_H(W) = 1/|H| * sum over h of h·W."""
    moved = [move_kernel(kernel, h, subgroup.group, source=source, target=target) for h in subgroup.indices]
    return sum(moved) / len(moved)


def orbits(subgroup, target, source, kernel_size):
    """The set of H's orbits on index triples (g, u, delta), each a frozen set, by union and find."""
    group = subgroup.group
    triples = product(
        range(channels_of(group, target)), range(channels_of(group, source)), product(*map(range, kernel_size))
    )
    parent = {triple: triple for triple in triples}

    def find(triple):
        while parent[triple] != triple:
            triple = parent[triple]
        return triple

    for h in subgroup.indices:
        out_images, in_images = index_images(group, h, target), index_images(group, h, source)
        offset_images = dict(position_images(group, h, tuple(kernel_size)))
        for g, u, offset in parent:
            a, b = find((g, u, offset)), find((out_images[g], in_images[u], offset_images[offset]))
            parent[max(a, b)] = min(a, b)
    found = {}
    for triple in parent:
        found.setdefault(find(triple), set()).add(triple)
    return {frozenset(members) for members in found.values()}


@cache
def rows_of_table(subgroup, target, source, kernel_size):
    """The row of a table of orbits that each triple reads, shape (g, u, *delta); orbits are counted by first triple."""
    found = torch.full(
        (channels_of(subgroup.group, target), channels_of(subgroup.group, source), *kernel_size), -1, dtype=torch.long
    )
    for row, members in enumerate(sorted(orbits(subgroup, target, source, kernel_size), key=min)):
        for g, u, offset in members:
            found[(g, u, *offset)] = row
    return found


def expand_table(table, subgroup, *, target, source, kernel_size, out_fields):
    """E_H(w) as a dense kernel, from a table (orbits, out_fields * in_fields)."""
    entries = table[rows_of_table(subgroup, target, source, tuple(kernel_size))]  # (g, u, *delta, o c)
    return entries.unflatten(-1, (out_fields, -1)).movedim((-2, 0, -1, 1), (0, 1, 2, 3)).flatten(2, 3).flatten(0, 1)


def expand_bias(table, subgroup, target):
    """E_H(b) as a dense bias, from a table (right cosets, out_fields)."""
    return table[rows_of_table(subgroup, target, "trivial", ())[:, 0]].T.flatten()


def projector(subgroup, target, source, kernel_size):
    """P_H of the kernels of one pair of fields as a matrix: the mean of the permutations of the index triples."""
    images = [triple_images(subgroup.group, h, target, source, tuple(kernel_size)) for h in subgroup.indices]
    identity = torch.eye(len(images[0]), dtype=torch.float64)
    return sum(identity[image].T for image in images) / len(images)


def energies_added(kernel, subgroups, *, target, source):
    """For each H in turn the energy of W on Fix(H_1) + ... + Fix(H_i), less that on the sum without H_i."""
    group = subgroups[0].group
    split = kernel.unflatten(1, (-1, channels_of(group, source))).unflatten(0, (-1, channels_of(group, target)))
    vectors = split.movedim(2, 1).flatten(2).flatten(0, 1).T.double()  # (triples, o c)
    total, kept = 0, [0.0]
    for H in subgroups:
        total = total + projector(H, target, source, tuple(kernel.shape[2:]))
        values, basis = torch.linalg.eigh(total)  # the range of a sum of projectors is the sum of their ranges
        kept.append(float((basis[:, values > 1e-9].T @ vectors).square().sum()))
    return [after - before for before, after in pairwise(kept)]


def coset_representatives(subgroup):
    """One element of every right coset Hg."""
    seen, representatives = set(), []
    for g in range(subgroup.group.order):
        if g not in seen:
            representatives.append(g)
            seen |= {index_images(subgroup.group, h)[g] for h in subgroup.indices}
    return representatives


def correlate(x, kernel, *, stride=1, padding=0, dilation=1):
    """out[b, o](x) = sum over c and taps t of f[b, c](stride x + dilation t - padding) kernel[o, c](t)."""
    spatial = x.ndim - 2
    padded = torch.nn.functional.pad(x, (padding, padding) * spatial)
    extents = [
        (side - dilation * (k - 1) - 1) // stride + 1
        for side, k in zip(padded.shape[2:], kernel.shape[2:], strict=True)
    ]
    out = x.new_zeros(x.shape[0], kernel.shape[0], *extents)
    for tap in product(*map(range, kernel.shape[2:])):
        window = [
            slice(dilation * t, dilation * t + stride * (extent - 1) + 1, stride)
            for t, extent in zip(tap, extents, strict=True)
        ]
        out += torch.einsum("bc...,oc->bo...", padded[(..., *window)], kernel[(..., *tap)])
    return out


def group_convolution(x, dense_weight, subgroup, *, source, target, **window):
    """A convolution constrained to H, from the free kernels psi_r alone; only those are read from the dense weight.

        regular target:   out(x, h r) = sum over y, u of f(y, u) psi_r(h^-1 u, h^-1 (y - x)),     one r per coset Hr
        trivial target:   out(x) = sum over y, h, r of f(y, h r) phi_r(h^-1 (y - x)),              one r per coset Hr
        both trivial:     out(x) = 1/|H| * sum over y, h of f(y) phi(h^-1 (y - x))

    For H = G the first is the definition of lifting and group convolution (Cohen and Welling 2016, section 6).
    """
    group = subgroup.group
    if target == "regular":
        free = dense_weight.unflatten(0, (-1, group.order))
        out = {}
        for r in coset_representatives(subgroup):
            for h in subgroup.indices:
                kernel = move_kernel(free[:, r], h, group, source=source, target="trivial")
                out[index_images(group, h)[r]] = correlate(x, kernel, **window)
        return torch.stack([out[g] for g in range(group.order)], dim=2).flatten(1, 2)
    if source == "regular":
        free, fields = dense_weight.unflatten(1, (-1, group.order)), x.unflatten(1, (-1, group.order))
        return sum(
            correlate(
                fields[:, :, index_images(group, h)[r]],
                move_kernel(free[:, :, r], h, group, source="trivial", target="trivial"),
                **window,
            )
            for r in coset_representatives(subgroup)
            for h in subgroup.indices
        )
    return correlate(x, project_kernel(dense_weight, subgroup, source=source, target=target), **window)


def relative_error(found, expected):
    """The largest difference, relative to the largest entry."""
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.abs().max()).item()
