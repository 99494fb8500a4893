"""Use torchdata's StatefulDataLoader, stop in the middle of an epoch, and resume.

Run: python examples/stateful_dataloader.py STORE
"""

import sys

from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import RandomSampler

import galahstream as gs


def main() -> None:
    """Read an epoch in two parts, with a new loader for the second one."""
    dataset = gs.SpectraDataset(sys.argv[1], return_ids=True)

    def make_loader() -> StatefulDataLoader:
        return StatefulDataLoader(dataset, 32, sampler=RandomSampler(dataset))

    for epoch in range(3):
        loader = make_loader()
        seen: list[int] = []
        for number, (_flux, _labels, ids) in enumerate(loader):
            seen += ids.tolist()
            if number == 2:
                state = loader.state_dict()
                break
        resumed = make_loader()
        resumed.load_state_dict(state)
        for _flux, _labels, ids in resumed:
            seen += ids.tolist()
        print(f"epoch {epoch}: {len(seen)} stars, {len(set(seen))} different")


if __name__ == "__main__":
    main()
