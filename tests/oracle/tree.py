"""Statements as trees, so that they can be made smaller without ceasing to be statements."""

from dataclasses import dataclass, field


@dataclass
class Node:
    """Some text with nodes in it.

    `kind` says what may stand in its place: another node of the kind, or one of `small`.
    `label` names the operator or function for grouping; none where it adds nothing.
    """

    kind: str
    parts: list = field(default_factory=list)
    label: str | None = None
    small: tuple = ()

    def render(self):
        return "".join(
            part if isinstance(part, str) else part.render() for part in self.parts
        )

    def children(self):
        return [part for part in self.parts if isinstance(part, Node)]

    def walk(self):
        yield self
        for child in self.children():
            yield from child.walk()

    def labels(self):
        return sorted({node.label for node in self.walk() if node.label})

    def size(self):
        return sum(1 for _ in self.walk())


def replaced(tree, old, new):
    """`tree` with `new` where `old` is."""
    if tree is old:
        return new
    parts = [part if isinstance(part, str) else replaced(part, old, new) for part in tree.parts]
    return Node(tree.kind, parts, tree.label, tree.small)


def smaller(tree):
    """Trees that have less in them, the smallest first."""
    found = []
    for node in tree.walk():
        for inner in node.walk():
            if inner is not node and inner.kind == node.kind:
                found.append((tree.size() - node.size() + inner.size(), node, inner))
        text = node.render()
        for small in node.small:
            if small != text and len(small) < len(text):
                leaf = Node(node.kind, [small])
                found.append((tree.size() - node.size() + 1, node, leaf))
    found.sort(key=lambda one: one[0])
    for _, old, new in found:
        yield replaced(tree, old, new)


def shrunk(tree, still_differs, attempts):
    """The smallest found in so many attempts for which `still_differs`."""
    while attempts > 0:
        for candidate in smaller(tree):
            attempts -= 1
            if attempts < 0:
                return tree
            if still_differs(candidate):
                tree = candidate
                break
        else:
            return tree
    return tree
