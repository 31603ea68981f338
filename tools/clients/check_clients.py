#!/usr/bin/env python3
"""Check the option files of other people's BasicSR projects with ``basicsr check``, and make a table of the outcome.

    python tools/clients/check_clients.py --checkouts FOLDER
    python tools/clients/check_clients.py --checkouts FOLDER --only HAT GFPGAN --python VENV/bin/python
    python tools/clients/check_clients.py --checkouts FOLDER --write   # renew the results and docs/compatibility.md
    python tools/clients/check_clients.py --fill                       # docs/compatibility.md alone, of the results

FOLDER holds the checkouts that ``clients.py`` lists. Each client is copied and imported in a process of its own, with
its checkout first on the path. The exit code is 0 if every file got the verdict it should have: all are accepted but
those that cannot work in BasicSR either, which ``clients.py`` names with what BasicSR says about them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients import CLIENTS, ROOT, Client, client_environment, copy_checkout, find_checkout, list_option_files

RESULTS = ROOT / 'docs/results/compatibility_options.json'
TRAININGS = ROOT / 'docs/results/compatibility.json'  # written by train_clients.py
DOCUMENT = ROOT / 'docs/compatibility.md'


@dataclass(frozen=True)
class Verdict:
    """What the check said about one option file.

    Args:
        file: Path relative to the checkout.
        accepted: Whether it is in order.
        errors: Complaints, each one line without the file's name.
        warnings: Warnings, each one line without the file's name.
    """

    file: str
    accepted: bool
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What the check said about one client.

    Args:
        client: The client.
        verdicts: One a file; empty after a failure.
        failure: Why there are no verdicts; empty if there are.
    """

    client: Client
    verdicts: tuple[Verdict, ...] = ()
    failure: str = ''

    def surprises(self) -> list[str]:
        """What is not as it should be, a line each."""
        if self.failure:
            return [self.failure]
        wrong = {known.file: known.reason for known in self.client.wrong_files}
        lines = []
        for verdict in self.verdicts:
            if verdict.accepted and verdict.file in wrong:
                lines.append(f'{verdict.file} is accepted, but cannot work: {wrong[verdict.file]}')
            elif not verdict.accepted and verdict.file not in wrong:
                lines.append(f'{verdict.file} is refused: {verdict.errors[0]}')
        missing = wrong.keys() - {verdict.file for verdict in self.verdicts}
        return lines + [f'{file} is not there.' for file in sorted(missing)]


def main(argv: Sequence[str] | None = None) -> int:
    """Check the clients, print the table; whether all is as it should be (0) or not (1)."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--checkouts', type=Path, metavar='FOLDER', help='folder of all checkouts')
    what.add_argument('--fill', action='store_true', help='check nothing: renew the tables in docs/ of the results')
    parser.add_argument('--only', nargs='+', metavar='NAME', choices=[c.name for c in CLIENTS], help='not all clients')
    parser.add_argument('--python', default=sys.executable, metavar='FILE', help='interpreter that has their packages')
    parser.add_argument('--write', action='store_true', help='renew the results and tables in docs/')
    args = parser.parse_args(argv)
    if args.fill:
        fill_document(DOCUMENT, read_tables(RESULTS, TRAININGS))
        return 0
    if args.write and args.only:
        parser.error('--write is for all clients: leave out --only')
    if not args.checkouts.is_dir():
        parser.error(f'--checkouts {args.checkouts} is not a folder')
    chosen = [client for client in CLIENTS if not args.only or client.name in args.only]
    reports = []
    for client in chosen:
        print(f'Checking {client.name} ...', file=sys.stderr, flush=True)
        reports.append(check_client(client, args.checkouts.resolve(), args.python))
    rows = [summary(report) for report in reports]
    print(table(rows))
    for report in reports:
        for line in (*report.surprises(), *(f'{v.file}: {w}' for v in report.verdicts for w in v.warnings)):
            print(f'{report.client.name}: {line}')
    if args.write:
        results = {'check': rows, 'refused': refusals(reports)}
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
        fill_document(DOCUMENT, read_tables(RESULTS, TRAININGS))
    return 1 if any(report.surprises() for report in reports) else 0


def check_client(client: Client, checkouts: Path, python: str = sys.executable) -> Report:
    """Copy one client, import it and check all its option files, in one child process.

    Args:
        client: The client.
        checkouts: Folder of all checkouts.
        python: Interpreter that has the packages that the client needs.

    Returns:
        The report; what went wrong is in it.
    """
    checkout = find_checkout(client, checkouts)
    if checkout is None:
        return Report(client, failure=f'There is no checkout {checkouts / client.folder}.')
    files = [path.as_posix() for path in list_option_files(client, checkout)]
    if not files:
        return Report(client, failure=f'No option file matches {" ".join(client.option_files)}.')
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_checkout(client, checkout, Path(folder))
        command = [python, '-m', 'basicsr_semantic', 'check', '--import', *client.imports, '--ignore-missing-files']
        done = subprocess.run(
            [*command, '-opt', *files], cwd=copy, env=client_environment(copy), capture_output=True, text=True
        )
    return read_report(client, files, done.returncode, done.stdout, done.stderr)


def read_report(client: Client, files: Sequence[str], code: int, stdout: str, stderr: str) -> Report:
    """Sort what ``basicsr check`` printed by file.

    Args:
        client: The client.
        files: Option files, as the command got them.
        code: Its exit code.
        stdout: What it printed: ``FILE:LINE: KEY: message``, ``FILE:LINE: KEY: warning: message``, ``FILE: OK. ...``
            or ``FILE: N problems.``
        stderr: Reasons of a failure before the first file.

    Returns:
        The report. It is a failure if there is no verdict on a file, or if the exit code contradicts the verdicts.
    """
    if code not in (0, 1):
        return Report(client, failure=_failure(client, code, stderr))
    lines: dict[str, list[str]] = {file: [] for file in files}
    for line in stdout.splitlines():
        # the longest name that fits: one file's name may begin with another's
        owner = max((file for file in files if line.startswith(f'{file}:')), key=len, default=None)
        if owner is not None:
            lines[owner].append(line[len(owner) + 1 :].strip())
    verdicts = tuple(_verdict(file, message) for file, message in lines.items())
    silent = [verdict.file for verdict in verdicts if not verdict.accepted and not verdict.errors]
    if silent:  # an exception that was not caught ends the check with code 1
        return Report(client, failure=f'The check said nothing about {silent[0]}. {_failure(client, code, stderr)}')
    if (code == 0) != all(verdict.accepted for verdict in verdicts):
        return Report(client, failure=f'The check ended with exit code {code}, which contradicts what it printed.')
    return Report(client, verdicts)


def _verdict(file: str, said: Iterable[str]) -> Verdict:
    errors, warnings, accepted = [], [], False
    for line in said:
        # `12: key: message`; the line's number is left out, so that the tables change only when a verdict does
        message = re.sub(r'^\d+: ', '', line)
        if message == 'OK.' or message.startswith('OK. '):
            accepted = True
        elif re.match(r'(\S+: )?warning: ', message):
            warnings.append(re.sub(r'^(\S+: )?warning: ', r'\1', message))
        elif not re.fullmatch(r'\d+ problems?\b.*', message):
            errors.append(message)
    return Verdict(file, accepted and not errors, tuple(errors), tuple(warnings))


def _failure(client: Client, code: int, stderr: str) -> str:
    """One line on why a child failed: its last words, and what to install if a package is missing."""
    words = [line.strip() for line in stderr.splitlines() if line.strip()]
    reason = words[-1].removeprefix('basicsr: ') if words else f'It ended with exit code {code} and no message.'
    # the module's name is not always that of the package: `ffmpeg` comes with ffmpeg-python
    if re.search(r'No module named|needs the package', reason) and client.packages:
        reason += f' {client.name} needs: pip install {" ".join(client.packages)}'
    return reason


def summary(report: Report) -> dict[str, Any]:
    """One row of the table of the checks."""
    refused = [verdict for verdict in report.verdicts if not verdict.accepted]
    return {
        'client': report.client.name,
        'commit': f'`{report.client.commit[:7]}`',
        'files': '' if report.failure else len(report.verdicts),
        'accepted': '' if report.failure else len(report.verdicts) - len(refused),
        'refused': 'not checked' if report.failure else len(refused),
        'warnings': '' if report.failure else sum(len(verdict.warnings) for verdict in report.verdicts),
        'needs': ' '.join(f'`{package}`' for package in report.client.packages),
    }


def refusals(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """Rows of the table of what was refused or not checked: file, what the check says, what BasicSR says."""
    rows = []
    for report in reports:
        wrong = {known.file: known.reason for known in report.client.wrong_files}
        if report.failure:
            rows.append({'file': f'{report.client.name}: all', 'check': report.failure, 'BasicSR': ''})
        for verdict in report.verdicts:
            if not verdict.accepted:
                file = f'{report.client.name}: `{verdict.file}`'
                rows.append({'file': file, 'check': verdict.errors[0], 'BasicSR': wrong.get(verdict.file, '')})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of rows that all have the first one's keys; empty without rows."""
    if not rows:
        return ''
    columns = list(rows[0])
    lines = [columns, ['---'] * len(columns), *([_cell(row.get(column, '')) for column in columns] for row in rows)]
    return '\n'.join(''.join(f'| {cell} ' if cell else '| ' for cell in line) + '|' for line in lines)


def _cell(value: Any) -> str:
    return ' '.join(str(value).split()).replace('|', '\\|')


def training_rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table of trainings and tests, of the records that ``train_clients.py`` writes."""
    rows = []
    for record in records:
        if record['impossible']:
            outcome = 'impossible'
        elif not record['works']:
            outcome = 'resumes to other weights' if record['iterations'] else 'fails'
        elif record['kind'] == 'test':
            outcome = 'runs'
        else:
            outcome = 'trains, and resumes to the same bits'
        note = record['reason'] or record['changed_beyond_sizes']
        rows.append({'project': record['client'], 'run': f'`{record["file"]}`', 'outcome': outcome, 'note': note or ''})
    return rows


def read_tables(results: Path, trainings: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of the document's tables by the names of their marks; no rows where a file is not there yet.

    Args:
        results: JSON file of this tool.
        trainings: JSON file of ``train_clients.py``.
    """
    tables: dict[str, list[dict[str, Any]]] = {'check': [], 'refused': [], 'trainings': []}
    if results.exists():
        tables.update(json.loads(results.read_text(encoding='utf-8')))
    if trainings.exists():
        tables['trainings'] = training_rows(json.loads(trainings.read_text(encoding='utf-8')))
    return tables


def fill_document(document: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Put tables into the document, each between its marks ``<!-- name -->`` and ``<!-- /name -->``.

    Args:
        document: A Markdown file with marks for each table.
        tables: Name of the marks -> rows; without rows the place stays empty.

    Raises:
        ValueError: A table has no marks in the document.
    """
    text = document.read_text(encoding='utf-8')
    for name, rows in tables.items():
        before, mark, rest = text.partition(f'<!-- {name} -->\n')
        _, end, after = rest.partition(f'<!-- /{name} -->')
        if not (mark and end):
            raise ValueError(f'{document} has no place for the table: <!-- {name} --> and <!-- /{name} -->.')
        filled = f'\n{table(rows)}\n\n' if rows else ''
        text = before + mark + filled + end + after
    document.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    raise SystemExit(main())
