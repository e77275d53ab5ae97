"""The words that the inputs of `bench_real` are made of."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


DRAWN = words("""
    time year people way day man thing woman life child world school state family student group country problem hand
    part place case week company system program question work government number night point home water room mother area
    money story fact month lot right study book eye job word business issue side kind head house service friend father
    power hour game line end member law car city community name president team minute idea kid body information back
    parent face others level office door health person art war history party result change morning reason research girl
    guy moment air teacher force education Invoice Total Order Date Amount London Berlin Street Avenue Monday Quantity
""")
NAMES = words("Anna Peter Maria John Susan Ahmed Julia Robert Elena Thomas Wei Carlos Nora Felix Priya Oscar")
DONE = (
    ("bought", "bought"),
    ("sold", "sold"),
    ("found", "found"),
    ("repaired", "repaired"),
    ("painted", "painted"),
    ("lost", "lost"),
    ("borrowed", "borrowed"),
    ("described", "described"),
    ("stole", "stolen"),
    ("broke", "broken"),
)
THINGS = words("car house bicycle guitar book camera table watch boat lamp piano jacket computer chair mirror phone")
KINDS = words("old red small expensive broken green wooden heavy new strange blue beautiful large cheap")
PLACES = words("London Paris Berlin Madrid Rome Vienna Boston Tokyo Cairo Sydney Oslo Lisbon Athens Dublin")
TIMES = ("yesterday", "last week", "in the summer", "on Monday", "this morning", "two years ago", "in March", "tonight")
CLAUSES = words("""
    {p}昨天在{l}买了一{m}{t} {p}和{q}打算明年去{l}旅游 {l}的{t}非常便宜 我觉得{p}的{t}很漂亮 {p}在{l}工作了三年
    请把{t}交给{p} {l}今天下了大雨 {q}说{p}不喜欢{t} 公司决定在{l}建立新的工厂 老师告诉{p}下周一有考试
""")
PEOPLE = words("张三 李四 王小明 赵丽 陈建国 刘洋 孙悦 周杰")
TOWNS = words("北京 上海 广州 深圳 杭州 成都 南京 武汉 西安")
GOODS = words("手机 电脑 汽车 书 衣服 相机 桌子 自行车 手表")
COUNTS = words("部 台 辆 本 件 个 张")
MARKS = "\uff0c\u3002"  # a comma and a full stop
