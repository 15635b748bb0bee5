"""`geocli networks`."""

from typing import Annotated, Literal

import typer

from geocli.cli import options
from geocli.cli.options import OUTPUT, SELECTION, option

Country = Annotated[
    list[str] | None, option(SELECTION, "--country", text="Networks of these countries.", metavar="NL,BE")
]
Asn = Annotated[list[str] | None, option(SELECTION, "--asn", text="Networks of these AS numbers.", metavar="N,...")]
Only = Annotated[
    list[str] | None,
    option(SELECTION, "--only", text="Networks whose field is A or B; repeatable.", metavar="FIELD=A,B"),
]
Except = Annotated[
    list[str] | None,
    option(SELECTION, "--except", text="No networks whose field is A or B; repeatable.", metavar="FIELD=A,B"),
]
Ipv4 = Annotated[bool, option(SELECTION, "-4", "--ipv4", text="Only IPv4.")]
Ipv6 = Annotated[bool, option(SELECTION, "-6", "--ipv6", text="Only IPv6.")]
Format = Annotated[
    Literal["cidr", "range", "csv", "jsonl", "nft", "ipset", "nginx"] | None,
    option(
        OUTPUT, "-f", "--format", text="cidr, range, csv, jsonl, nft, ipset or nginx; default: cidr.", metavar="FORMAT"
    ),
]
NoAggregate = Annotated[bool, option(OUTPUT, "--no-aggregate", text="Keep the networks of the databases as they are.")]
Name = Annotated[str | None, option(OUTPUT, "--name", text="Name of the set or the variable.", metavar="NAME")]


def networks(
    ctx: typer.Context,
    country: Country = None,
    asn: Asn = None,
    only: Only = None,
    except_: Except = None,
    ipv4: Ipv4 = False,
    ipv6: Ipv6 = False,
    format_: Format = None,
    fields: options.Fields = None,
    no_aggregate: NoAggregate = False,
    name: Name = None,
    output: options.OutputFile = None,
    db: options.Databases = None,
) -> int:
    """List the networks of countries, AS numbers or other values.

    The networks are those of the databases at hand. Several conditions must
    all hold.
    """
    from geocli.cli.run_networks import NetworksRequest, run
    from geocli.selection import selection_of

    request = NetworksRequest(
        versions=tuple(version for version, is_chosen in ((4, ipv4), (6, ipv6)) if is_chosen or ipv4 is ipv6),
        format=format_ or "cidr",
        fields=options.fields_of(fields),
        is_apart=no_aggregate,
        name=name,
        output=output,
    )
    return run(options.settings_of(ctx, db), selection_of(only or (), except_ or (), country or (), asn or ()), request)
