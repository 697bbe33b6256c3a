"""Kinds of values, and flags that several scripts have."""

import argparse
import errno
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import UserError
from utils.options.flags import (
    COUNT,
    NATURAL,
    NOT_NEGATIVE,
    POSITIVE,
    RATE,
    SHARE,
    ScriptParser,
    add_data_flags,
    add_noise_flags,
    check_data_flags,
    check_inputs,
    check_noise_flags,
)


@given(st.floats())
def test_a_value_is_taken_where_it_lies_in_its_range(value):
    ranges = {
        SHARE: 0 <= value <= 1,
        RATE: 0 <= value <= 0.99,
        POSITIVE: 0 < value <= 1e9,
        NOT_NEGATIVE: 0 <= value <= 1e9,
    }
    for kind, inside in ranges.items():
        if inside:
            assert kind(repr(value)) == value
        else:
            with pytest.raises(argparse.ArgumentTypeError):
                kind(repr(value))


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (COUNT, "0", "expected a whole number of at least 1, but got 0"),
        (COUNT, "2.0", "expected a whole number, but got '2.0'"),
        (NATURAL, "-1", "expected a whole number of at least 0, but got -1"),
        (POSITIVE, "0", "expected a number above 0 and at most 1e+09, but got 0"),
        (RATE, "", "expected a number, but got ''"),
    ],
)
def test_a_refusal_says_what_was_expected(kind, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(message)):
        kind(text)


def test_of_alternatives_the_first_is_taken(capsys):
    assert COUNT("224/448") == 224
    assert capsys.readouterr().err == "224/448 lists alternatives: taking the first, 224\n"


@pytest.mark.parametrize("name", ["no.csv", "a\0b", "x" * 300, "file/below"])
def test_what_is_to_be_read_must_be_there(name, tmp_path):
    (tmp_path / "file").touch()
    there = argparse.Namespace(labels=str(tmp_path / "file"), classes=None, weights="imagenet")
    check_inputs(there)
    there.labels = str(tmp_path / name)
    with pytest.raises(UserError, match="^--labels .* does not exist: give the file that lists "):
        check_inputs(there)


def test_what_lies_in_a_folder_of_others_is_not_said_to_be_missing(monkeypatch):
    def refuse(place):
        raise PermissionError(errno.EACCES, "Permission denied", place)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(UserError, match="^--labels a.csv lies in a folder that you may not read"):
        check_inputs(argparse.Namespace(labels="a.csv"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "--dataset is needed"),
        ("--dataset files", "--labels is needed"),
        ("--dataset voc07", "--path_images is needed: the folder that holds voc07"),
        ("--dataset digits --classes names.txt", "--classes is for --dataset files"),
        ("--dataset digits --noise instance", "--noise instance and --load_from belong together"),
        ("--dataset digits --noise class", "--noise class needs rates of at most 0.5"),
        ("--dataset digits --load_from run", "--noise instance and --load_from belong together"),
    ],
)
def test_what_is_needed_or_would_do_nothing_is_bad_usage(flags, message, capsys):
    def parse():
        parser = ScriptParser()
        add_data_flags(parser, ["voc07", "digits", "files"])
        add_noise_flags(parser)
        options = parser.parse_args(flags.split())
        check_data_flags(parser, options)
        check_noise_flags(parser, options, [0.1, 0.6])

    with pytest.raises(SystemExit) as stopped:
        parse()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
