import pytest

from byav_core.sampling.guidance import Joint, Separate, passes_per_step

E = {(True, True): 1.7, (True, False): -0.4, (False, True): 0.9, (False, False): 2.3}  # e(prompted, speaking)


def velocity(passes):
    return sum(one.weight * E[one.prompted, one.speaking] for one in passes)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5, 7.0])
def test_joint_guidance_is_the_classifier_free_formula(scale):
    dropped, told = E[False, False], E[True, True]
    assert velocity(Joint(scale).passes()) == pytest.approx(dropped + scale * (told - dropped))


@pytest.mark.parametrize(("text", "audio"), [(5.0, 4.0), (2.0, 1.0), (3.0, 3.0), (0.5, 6.0)])
def test_separate_guidance_adds_a_step_towards_speech_and_one_towards_text(text, audio):
    nothing, speech, both = E[False, False], E[False, True], E[True, True]
    expected = nothing + audio * (speech - nothing) + text * (both - speech)
    assert velocity(Separate(text, audio).passes()) == pytest.approx(expected)


def test_text_scale_one_guides_speech_around_the_prompt():
    mute, both = E[True, False], E[True, True]
    assert velocity(Separate(1.0, 2.0).passes()) == pytest.approx(mute + 2.0 * (both - mute))


@pytest.mark.parametrize(
    ("guidance", "names"),
    [
        (Joint(7.0), ["uncond", "cond"]),
        (Joint(1.0), ["cond"]),
        (Separate(5.0, 4.0), ["uncond", "no_text", "cond"]),
        (Separate(4.0, 4.0), ["uncond", "cond"]),
        (Separate(5.0, 1.0), ["no_text", "cond"]),
        (Separate(1.0, 5.0), ["no_speech", "cond"]),
        (Separate(1.0, 1.0), ["cond"]),
    ],
)
def test_a_pass_without_weight_is_not_run_and_the_full_one_is_last(guidance, names):
    passes = guidance.passes()
    assert [one.name for one in passes] == names
    assert passes[-1].prompted and passes[-1].speaking


def test_weights_always_add_up_to_one():
    for guidance in (Joint(3.3), Separate(2.0, 9.0), Separate(1.0, 4.0)):
        assert sum(one.weight for one in guidance.passes()) == pytest.approx(1)
        assert sum(one.weight for one in guidance.passes_without_audio()) == pytest.approx(1)


def test_a_name_always_stands_for_the_same_conditions():
    told = {}
    for guidance in (Joint(3.3), Separate(2.0, 9.0), Separate(1.0, 4.0)):
        for one in (*guidance.passes(), *guidance.passes_without_audio()):
            assert told.setdefault(one.name, (one.prompted, one.speaking)) == (one.prompted, one.speaking)


def test_outside_its_interval_speech_is_heard_but_not_guided():
    steps = passes_per_step(Separate(5.0, 4.0), 10, audio_start=0.2, audio_end=0.7)
    guided = [any(not one.speaking for one in passes) for passes in steps]
    assert guided == [False] * 2 + [True] * 5 + [False] * 3
    assert velocity(steps[0]) == pytest.approx(E[False, True] + 5.0 * (E[True, True] - E[False, True]))


def test_the_whole_run_is_guided_by_default():
    assert set(passes_per_step(Joint(7.0), 4)) == {Joint(7.0).passes()}


@pytest.mark.parametrize(("start", "end"), [(-0.1, 1.0), (0.8, 0.2), (0.0, 1.1)])
def test_an_impossible_interval_is_refused(start, end):
    with pytest.raises(ValueError, match="is not an interval"):
        passes_per_step(Joint(7.0), 4, start, end)
