"""`python -m tests.clusters`: the throwaway cluster from the command line; the Makefile's targets call this."""

import argparse
import sys

from tests.clusters import binaries, images
from tests.clusters.local.cluster import Local
from tests.clusters.progress import Trouble, say
from tests.clusters.provider import chosen, end, started
from tests.clusters.settings import Settings


def main() -> int:
    arguments = _parser().parse_args()
    settings = Settings.read()
    try:
        return int(arguments.run(settings, arguments) or 0)
    except Trouble as trouble:
        say(f"error: {trouble}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on, or `make down` to remove what there is")
        return 130


def up(settings: Settings, _: argparse.Namespace) -> None:
    provider, kubeconfig = started(settings)
    say(f"The cluster ({provider.name}) is up. Use it with: export KUBECONFIG={kubeconfig}")
    say("It is empty: `make images` puts the operator's images into it, manifests/mlflow an MLflow.")


def prepare(settings: Settings, _: argparse.Namespace) -> None:
    chosen(settings).prepare()
    images.build(settings)


def down(settings: Settings, _: argparse.Namespace) -> None:
    end(settings)


def build_images(settings: Settings, arguments: argparse.Namespace) -> None:
    """Prints the name that each image has in the cluster; the local name, while there is no cluster."""
    built = images.build(settings, arguments.names)
    provider = chosen(settings)
    names = provider.load_images(built) if provider.running() else {image.name: image.name for image in built}
    for name in names.values():
        print(name)


def status(settings: Settings, _: argparse.Namespace) -> None:
    print(chosen(settings).status())


def tool(settings: Settings, arguments: argparse.Namespace) -> None:
    print(binaries.binary(settings, arguments.name))


def component(settings: Settings, arguments: argparse.Namespace) -> None:
    provider = chosen(settings)
    if not isinstance(provider, Local):
        raise Trouble(f"Single components can be stopped and started in a local cluster only; this is {provider.name}.")
    if arguments.verb in ("stop", "restart"):
        provider.stop_component(arguments.name)
    if arguments.verb in ("start", "restart"):
        provider.start_component(arguments.name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.clusters", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(run=run, verb=name)
        return added

    verb("up", up, "start the cluster, or find it running")
    verb("prepare", prepare, "build the tools and the images that a cluster needs, and start nothing")
    verb("down", down, "end the cluster and remove all of it")
    verb("status", status, "say what runs")
    choice = verb("images", build_images, "build the images that changed, and load them into the cluster if one runs")
    choice.add_argument("names", nargs="*", choices=[[], *(recipe.name for recipe in images.RECIPES)])
    verb("tool", tool, "build a tool (helm, kubectl, kind, ...) and print its path").add_argument("name")
    for name in ("stop", "start", "restart"):
        verb(name, component, f"{name} one component of a local cluster").add_argument("name", metavar="COMPONENT")
    return parser


if __name__ == "__main__":
    sys.exit(main())
