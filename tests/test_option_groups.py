"""Options that several scripts have: what is needed, and what must be there."""

import errno
import os

import pytest

from utils.errors import UserError
from utils.options.groups import DataOptions, NoiseOptions, check_data_options, check_noise_options
from utils.options.table import OptionsParser, check_inputs, parse
from utils.options.training import TrainingOptions


@pytest.mark.parametrize("name", ["no.csv", "a\0b", "x" * 300, "file/below"])
def test_what_is_to_be_read_must_be_there(name, tmp_path):
    there = tmp_path / "file"
    there.touch()
    check_inputs(TrainingOptions(labels=str(there), weights="imagenet"))
    with pytest.raises(UserError, match="^--labels .* does not exist: give the file that lists "):
        check_inputs(TrainingOptions(labels=str(tmp_path / name)))


def test_a_script_may_say_in_its_own_words_what_to_give_or_make_it_itself():
    options = TrainingOptions(labels="no.csv", noise_file="no.npy")
    with pytest.raises(UserError, match="^--noise_file no.npy does not exist: give candidates"):
        check_inputs(options, labels=None, noise_file="candidates")
    check_inputs(options, labels=None)


def test_what_lies_in_a_folder_of_others_is_not_said_to_be_missing(monkeypatch):
    def refuse(place):
        raise PermissionError(errno.EACCES, "Permission denied", place)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(UserError, match="^--labels a.csv lies in a folder that you may not read"):
        check_inputs(DataOptions(labels="a.csv"))


def check_data(flags):
    parser = OptionsParser()
    check_data_options(parser, parse(DataOptions, parser, flags.split()))


def check_noise(flags):
    parser = OptionsParser()
    check_noise_options(parser, parse(NoiseOptions, parser, flags.split()), 0.6)


@pytest.mark.parametrize(
    ("check", "flags", "message"),
    [
        (check_data, "", "--dataset is needed"),
        (check_data, "--dataset files", "--labels is needed"),
        (check_data, "--dataset voc07", "--path_images is needed: the folder that holds voc07"),
        (check_data, "--dataset digits --classes n.txt", "--classes is for --dataset files"),
        (check_data, "--dataset imagenet", "expected one of voc07, coco, nuswide, "),
        (check_data, "--data digits", "unrecognized arguments: --data digits"),
        (check_noise, "--noise instance", "--noise instance and --load_from belong together"),
        (check_noise, "--noise class", "--noise class needs rates of at most 0.5"),
        (check_noise, "--load_from run", "--noise instance and --load_from belong together"),
    ],
)
def test_options_that_are_needed_or_would_do_nothing_are_bad_usage(check, flags, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        check(flags)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
