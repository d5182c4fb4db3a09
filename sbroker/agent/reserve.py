"""Room on the disk kept back, so that endings can still be journalled when everything else has filled it."""

import errno
import os

SIZE = 1 << 20  # bytes: some thousands of reports


class Reserve:
    """A file of zeros in the agent's folder, given up when the disk is full and made again when it is not."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "reserve")
        self.refill()

    def refill(self):
        """Have the reserve; False while there is no room for it: then no new run should be taken."""
        try:
            if os.stat(self.path).st_size == SIZE:
                return True
        except FileNotFoundError:
            pass  # first start, or spent
        try:
            with open(self.path, "wb") as stream:
                stream.write(b"\0" * SIZE)
                stream.flush()
                os.fsync(stream.fileno())
            return True
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.spend()
            return False

    def spend(self):
        """Give the room back to the disk; False if it was spent before."""
        try:
            os.unlink(self.path)
            return True
        except FileNotFoundError:
            return False

    def writing(self, write):
        """`write()`, once more with the reserve spent if the disk is full. OSError if that did not help."""
        try:
            return write()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.spend():
                raise
            return write()
