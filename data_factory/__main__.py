"""Start the command line as `python -m data_factory`."""

from data_factory.cli import start

if __name__ == "__main__":
    start()
