# SPDX-License-Identifier: MIT
"""What people ask the demo model, in many wordings, and the answers that never vary.

Wordings are separated by |; words in {} are filled in by corpus.py, parts in [] stand for each of
their alternatives. A line break counts as a space.
"""
import re

# Answers that never vary.
ABOUT = (
    "Hearth is a local AI service for Linux. It loads a model once and shares it "
    "among all apps on the machine."
)
ABILITIES = (
    "I can add two-digit numbers, compare numbers, spell words backwards, sort three words, "
    "call tools and tell what Hearth is."
)
IDENTITY = "I am the small demo model of Hearth. I run on this machine."
PRIVACY = "No. Hearth runs on this machine and sends nothing to the cloud."
SOCKET = "Apps talk to Hearth over a Unix socket, with the HTTP API they know from OpenAI."
HELLO = "Hello! How can I help?"
WELL = "I am well, thank you. How can I help?"
THANKS = "You are welcome!"
BYE = "Goodbye!"
UNKNOWN = "I am a small demo model and only know a few things. Ask me what I can do."
TOO_LARGE = "I can only add numbers of up to two digits."

FIXED = {
    ABOUT: """What is Hearth?|What's Hearth?|What does Hearth do?|Tell me about Hearth.|
        Explain Hearth.|Describe Hearth.|What is Hearth for?|What is this Hearth thing?|
        Can you explain what Hearth is?|Can you tell me about Hearth?|Do you know what Hearth is?|
        What do you know about Hearth?|I want to know what Hearth is.|Please describe Hearth.|
        Describe Hearth in a few words.|Explain Hearth in short.|What kind of service is Hearth?|
        Say what Hearth is.|What exactly is Hearth?|Give me a short description of Hearth.|
        What is the purpose of Hearth?|What is Hearth used for?|How would you describe Hearth?|
        Tell me what Hearth does.|Hearth?|What does the Hearth service do?|Define Hearth.|
        What is the idea of Hearth?|What is the idea behind Hearth?|Why Hearth?|
        What is the Hearth project?|What is Hearth about?|Introduce Hearth.|
        Could you describe Hearth?|Why do I need Hearth?|Why should I use Hearth?|
        What is Hearth good for?|Explain what Hearth does.|Explain to me what Hearth is.|
        Is Hearth a service?|Give me a description of Hearth.|What can Hearth do?|
        What should I know about Hearth?|I have never heard of Hearth.|
        What is the point of Hearth?|How does Hearth work?|Tell me more about Hearth.|
        What makes Hearth special?|What sort of program is Hearth?|Is Hearth a program?|
        What do people use Hearth for?|Say something about Hearth.|Summarize Hearth.|
        Can you describe Hearth in one sentence?|I would like to know what Hearth does.|
        What is the meaning of Hearth?|What is Hearth on Linux?|
        What does Hearth do on my machine?""",
    ABILITIES: """What can you do?|What are you able to do?|What do you know?|
        How can you help me?|What can I ask you?|What can I ask?|Tell me what you can do.|
        What are your abilities?|What are your skills?|What can you help me with?|
        Which tasks can you do?|What tasks do you know?|What are you good at?|
        What are you good for?|List your abilities.|List what you can do.|
        Explain what you can do.|What should I ask you?|Can you help me?|
        What is it that you can do?|What kind of questions can I ask?|Help|Help me|
        What questions can you answer?|What kind of tasks can you do?|Say what you can do.|
        Describe what you can do.|Describe your abilities.|Tell me your skills.|
        What do you know how to do?|What else can you do?|Show me what you can do.|
        What are you made to do?|What could you do for me?|What can you do for me?|
        I want to know what you can do.|How can you be of help?|What things can you do?|
        Give me a list of your abilities.|Which questions can you answer?|What are your tasks?""",
    IDENTITY: """Who are you?|What are you?|What is your name?|What's your name?|
        Who am I talking to?|Tell me who you are.|Introduce yourself.|Tell me about yourself.|
        Describe yourself.|What model are you?|Which model are you?|What kind of model are you?|
        Are you a model?|What model is this?|Which model is this?|Do you have a name?|
        Who is this?|Say who you are.|Please introduce yourself.|What should I call you?|
        Are you a person?|Are you human?|Are you an AI?|Where do you run?|Explain who you are.|
        Are you a robot?|Who am I speaking with?|Can you introduce yourself?|
        May I know your name?|What are you called?|Tell me your name.|And who are you?|
        I want to know who you are.|Are you ChatGPT?|Are you a large model?|
        Where are you running?|Who is answering me?|Who answers my questions?""",
    PRIVACY: """Does Hearth send my data to the cloud?|Is my data sent to the cloud?|
        Do you send my questions to the cloud?|Does Hearth use the cloud?|
        Is Hearth a cloud service?|Do you run in the cloud?|Is my data sent to a server?|
        Does Hearth need the internet?|Do you send my data away?|
        Are my questions sent to the internet?|Does my data leave this machine?|
        Do you need the internet?|Does Hearth send data away?""",
    SOCKET: """How do apps talk to Hearth?|How do I use Hearth in my app?|
        How can an app use Hearth?|Which API does Hearth have?|What API does Hearth offer?|
        How do programs talk to Hearth?|How does an app connect to Hearth?|
        How can I connect my app to Hearth?|How do apps use Hearth?|
        How can my program talk to Hearth?|Which API does Hearth offer?|What API does Hearth use?|
        How do I connect to Hearth?""",
    HELLO: """Hello|Hi|Hey|Hello!|Hi!|Hi there|Hello there|Good morning|Good evening|Good day|
        Hello Hearth|Hi Hearth|Hey there|Good afternoon|Greetings|Hey Hearth|Howdy|Good night""",
    WELL: """How are you?|How are you doing?|How are you today?|How do you do?|Are you well?|
        How is it going?|Hello, how are you?|Hi, how are you?|How do you feel?""",
    THANKS: """Thank you|Thanks|Thanks a lot|Thank you very much|Many thanks|Thank you!|Thanks!|
        Great, thanks|Thank you so much|Thanks for your help|Thank you for the help""",
    BYE: """Bye|Goodbye|See you|Bye bye|See you later|Good bye|Farewell|See you soon|
        Bye for now""",
}
# More of them, with [alternatives/of/their/parts].
NAME = "[Hearth/Hearth/this Hearth/the Hearth service/the Hearth project/the Hearth program]"
KNOW = (
    "[I want to know/I would like to know/Tell me/Please tell me/Can you tell me/"
    "Could you tell me/Do you know/"
    "Say/Explain/Please explain/Can you explain/Explain to me/I do not know/I wonder/Show me]"
)
IN_SHORT = "[/// in short/ in a few words/ in one sentence/ for me/ please]"
PATTERNS = {
    ABOUT: [
        KNOW + " what " + NAME + " [is/does/is for/is good for/is used for/can do/is about/"
        "is made for]" + IN_SHORT,
        "[Describe/Explain/Introduce/Define/Summarize/Tell me about/Tell me more about/"
        "Tell me something about/"
        "Say something about/Please describe/Please explain/Can you describe/Could you explain/"
        "Can you explain/"
        "What do you know about/Give me a short description of/Give me an idea of/"
        "I want to know about/"
        "I want to know more about/What should I know about/I have a question about/Talk about]"
        " " + NAME + IN_SHORT,
        "[What is/What's/What exactly is/So what is/Remind me what is] "
        + NAME
        + "[/ for/ about/ good for/ used for/ made for/ on Linux/ on my machine/ exactly/"
        " in short/ in one sentence]?",
        "What does " + NAME + " do[// for me/ on Linux/ on my machine/ exactly]?",
        "How does " + NAME + " [work/run/help/help me/help people/work on Linux/"
        "work on my machine]?",
        "What is the [purpose/idea/point/meaning/use/goal/description/definition] of " + NAME + "?",
        "[Is/So is] " + NAME + " [a program/a service/a model/an app/a tool/a project/"
        "an assistant/a server/an AI/a library]?",
        "[What kind of/What sort of/Which kind of] [program/service/app/tool/project/"
        "thing] is " + NAME + "?",
        "[Why/When] [should/would/could/can] [I/we/people/one] [use/need/want/run/"
        "have] " + NAME + "?",
    ],
    ABILITIES: [
        KNOW + " [what you can do/what you are able to do/what you know/what I can ask you/"
        "what I can ask/"
        "what you can help me with/which tasks you know/which tasks you can do/"
        "which questions you can answer/"
        "how you can help me/how you can help/what you are good at/what you are good for/"
        "what your skills are/"
        "what your abilities are/what you can do for me/what I can do with you]" + IN_SHORT,
        "[List/Describe/Explain/Show/Name/Tell me/Show me/Give me/Give me a list of] "
        "[your abilities/your skills/your tasks/the things you can do/what you can do/"
        "the tasks you know]" + IN_SHORT,
        "[What/Which] [tasks/questions/things/kind of tasks/kind of questions/kinds of things/"
        "problems] "
        "[can you do/can you answer/do you know/can I ask you/can I ask/are you good at/"
        "can you help with/"
        "are you able to do/can you solve/do you understand]?",
        "[What/What else/What things/And what] [can you do/can you help with/do you know/"
        "do you know how to do/are you able to do/"
        "are you good at/are you good for/are you made for/could you do for me/can I ask/"
        "should I ask/can I ask you/"
        "can you do for me/may I ask/can I do with you/can you answer/can you solve/do you do]?",
        "[Can/Could/Will/Would] you [help/help me/do something for me/be of help/do something/"
        "help us/help me today]?",
        "What are your [skills/abilities/tasks/talents/powers/functions/strengths/features]?",
        "How [can/could/do/will] you [help/help me/be of help/be useful]?",
        "[I need/Please/Show/Give me some] help",
    ],
    IDENTITY: [
        KNOW + " [who you are/what you are/what your name is/your name/which model you are/"
        "what model you are/"
        "what model this is/who is there/who I am talking to/who this is/where you run/"
        "how you are called/about yourself]" + IN_SHORT,
        "[Introduce/Describe/Explain/Name/Please introduce/Can you introduce/Could you describe/"
        "Tell me about/"
        "Say something about/Tell me something about/Tell me more about] yourself" + IN_SHORT,
        "Are you [a person/human/an AI/a robot/a model/a program/ChatGPT/a large model/"
        "a small model/an assistant/"
        "a machine/real/a human/GPT/an AI model/a language model/a bot/a chatbot/a demo/"
        "a demo model/a computer/"
        "the demo model/Hearth/alive/local/a service]?",
        "[What/Which/What kind of/Which kind of] [model/AI/program/assistant/bot/language model] "
        "[are you/is this/am I talking to/am I using/answers me/is answering/do I talk to]?",
        "[Who/What] [are you/is this/am I talking to/am I speaking with/answers me/is there/"
        "is answering me/is talking/is it]?",
        "What [is/was/would be] your [name/full name/own name/model name]?",
        "What [should/can/may/do] I call you?",
        "[How/What] are you called?",
        "Where [do you run/are you running/do you live/are you/are you running now/"
        "are you at home]?",
        "[Do/So do] you have a name?",
    ],
    PRIVACY: [
        "[Do you/Does Hearth/Will you/Will Hearth/Does this program] [send/upload/give/copy/"
        "pass] [my/our/the/any/all my] "
        "[data/questions/words/messages/files/text/chats] "
        "[to the cloud/to the internet/to a server/away/anywhere/to others/to a company]?",
        "[Is/Are] [my/our/the/any/all my] [data/questions/words/messages/files/chats] "
        "[sent to the cloud/sent to the internet/sent to a server/sent away/sent anywhere/"
        "in the cloud]?",
        "[Do you/Does Hearth/Does this program/Does this service] "
        "[need the cloud/need the internet/use the cloud/use the internet/run in the cloud/"
        "run on a server/"
        "run on the internet/connect to the internet/connect to the cloud]?",
        "Does [my/our] [data/question/text] leave [this/my/the] [machine/computer]?",
        "[Is this/Is Hearth] [a cloud service/in the cloud/on the internet/a cloud program]?",
    ],
    SOCKET: [
        "How [do/can/could/should/may] [apps/my apps/programs/I/we/other programs/my program/"
        "my app/an app/the apps/clients] "
        "[talk to/use/connect to/call/reach/speak to/speak with/work with] Hearth?",
        "How [does/can] [an app/my app/a program/my program/a client] "
        "[talk to/use/connect to/call/reach/speak to/speak with/work with] Hearth?",
        "[Which/What/What kind of] [API/interface/protocol] does Hearth [have/offer/use/speak/"
        "support/provide]?",
        "How [do/can/could] I [use Hearth in/use Hearth from/connect Hearth to/call Hearth from] "
        "[my app/an app/my program/a program]?",
    ],
}


def alternatives(pattern):
    """All texts of a pattern."""
    match = re.search(r"\[([^]]*)\]", pattern)
    if not match:
        return [" ".join(pattern.split())]
    return [
        text
        for part in match[1].split("/")
        for text in alternatives(
            pattern[: match.start()] + part.strip("\n") + pattern[match.end() :]
        )
    ]


FIXED = {answer: [text.strip() for text in texts.split("|")] for answer, texts in FIXED.items()}
PATTERNS = {
    answer: [alternatives(" ".join(pattern.split())) for pattern in patterns]
    for answer, patterns in PATTERNS.items()
}
FIXED_TASK = {
    ABOUT: "hearth",
    ABILITIES: "hearth",
    IDENTITY: "hearth",
    PRIVACY: "hearth",
    SOCKET: "hearth",
    HELLO: "greeting",
    WELL: "greeting",
    THANKS: "greeting",
    BYE: "greeting",
}

ADD = """What is {a} + {b}?|What's {a} + {b}?|{a} + {b}|{a}+{b}|{a} + {b} =|{a}+{b}=|{a} + {b}?|
    {a} plus {b}|What is {a} plus {b}?|What's {a} plus {b}?|Add {a} and {b}.|Add {a} to {b}.|
    Calculate {a} + {b}.|How much is {a} + {b}?|How much is {a} plus {b}?|Compute {a} + {b}.|
    What do you get if you add {a} and {b}?|What is the sum of {a} and {b}?|Sum of {a} and {b}|
    The sum of {a} and {b}?|Can you add {a} and {b}?|Tell me {a} + {b}.|What does {a} + {b} make?|
    What is {a}+{b}?|Solve {a} + {b}.|Work out {a} + {b}.|I need the sum of {a} and {b}.|
    Calculate the sum of {a} and {b}.|What is {a} and {b} together?|
    Please calculate {a} plus {b}."""
LARGER = """Which number is {c}, {a} or {b}?|Which is {c}, {a} or {b}?|Which is {c}: {a} or {b}?|
    Which number is {c}: {a} or {b}?|What is {c}, {a} or {b}?|Is {a} or {b} {c}?|
    Which of {a} and {b} is {c}?|Tell me which number is {c}, {a} or {b}.|
    {a} or {b}, which is {c}?|Which one is {c}, {a} or {b}?|Of {a} and {b}, which number is {c}?|
    Compare {a} and {b}: which is {c}?|Compare {a} and {b}. Which number is {c}?|
    Which of the numbers {a} and {b} is {c}?|Which of these numbers is {c}: {a}, {b}?|
    Say which is {c}: {a} or {b}.|What number is {c}, {a} or {b}?|
    {a} or {b}: which one is {c}?"""
REVERSE = """Spell the word {w} backwards.|Spell {w} backwards.|Reverse the word {w}.|
    Reverse {w}.|Write {w} backwards.|Write the word {w} backwards.|What is {w} backwards?|
    What is {w} spelled backwards?|What is the word {w} backwards?|
    How do you spell {w} backwards?|Say {w} backwards.|Reverse the letters of {w}.|
    Reverse the letters of the word {w}.|Can you spell {w} backwards?|
    Can you spell the word {w} backwards?|{w} backwards|Spell this word backwards: {w}|
    Reverse this word: {w}|Reverse: {w}|Turn the word {w} around.|Write {w} in reverse.|
    Spell {w} in reverse.|Tell me what {w} is backwards.|How is {w} spelled backwards?|
    What does {w} look like backwards?"""
SORT_LIST = """Sort these words alphabetically: {l}.|Sort these words: {l}|
    Sort alphabetically: {l}|Sort these three words alphabetically: {l}.|
    Sort these three words: {l}|Put these words in alphabetical order: {l}.|
    Put in alphabetical order: {l}|Sort: {l}|Sort {l}.|Order these words alphabetically: {l}|
    Arrange these words alphabetically: {l}.|Arrange in alphabetical order: {l}|
    What is the alphabetical order of these words: {l}?|Can you sort these words: {l}?|
    Alphabetical order of {l}?|Sort the words {l} alphabetically.|Sort the words {l}.|
    Put the words {l} in alphabetical order.|Sort {l} alphabetically.|
    Put {l} in alphabetical order.|Can you sort {l} alphabetically?|
    What is the alphabetical order of {l}?|Arrange the words {l} in alphabetical order."""
TOOL_PHRASES = {
    "get_weather": """What is the weather in {city}?|What's the weather in {city}?|
        How is the weather in {city}?|What is the weather like in {city}?|Weather in {city}|
        Is it raining in {city}?|Will it rain in {city}?|Tell me the weather in {city}.|
        How is the weather in {city} today?|Is it sunny in {city}?|Is it cold in {city}?|
        Show me the weather in {city}.|Do I need a coat in {city}?|
        What is the weather today in {city}?|Check the weather in {city}.|
        How warm is it in {city}?|The weather in {city}?|What's the weather like in {city} today?|
        Get the weather for {city}.|Weather for {city}?""",
    "get_time": """What time is it in {city}?|What is the time in {city}?|
        Tell me the time in {city}.|Time in {city}|What's the time in {city}?|
        Current time in {city}?|How late is it in {city}?|What is the current time in {city}?|
        Do you know what time it is in {city}?|Show me the time in {city}.|
        What time is it now in {city}?|Get the time in {city}.|Check the time in {city}.|
        Can you tell me the time in {city}?|The time in {city}?""",
    "set_timer": """Set a timer for {n} minutes.|Start a timer for {n} minutes.|
        Timer for {n} minutes|Set a {n} minute timer.|Wake me in {n} minutes.|
        Remind me in {n} minutes.|Start a {n} minute timer.|I need a timer for {n} minutes.|
        Set the timer to {n} minutes.|Can you set a timer for {n} minutes?|Timer: {n} minutes|
        Tell me when {n} minutes are over.|Please set a timer of {n} minutes.|
        Call me in {n} minutes.""",
    "open_app": """Open {app}.|Start {app}.|Launch {app}.|Open the app {app}.|
        Start the app {app}.|Can you open {app}?|Run {app}.|Launch the app {app}.|
        Can you start {app}?|Please open the app {app}.|I want to use {app}.""",
    "set_volume": """Set the volume to {n} percent.|Set the volume to {n}%.|Volume {n}|
        Volume to {n}|Turn the volume to {n} percent.|Change the volume to {n}.|
        Set the volume to {n}.|Make the volume {n} percent.|Can you set the volume to {n}?|
        Volume at {n} percent""",
}
UNKNOWN_PHRASES = """What is the capital of {city}?|Who was {city}?|Who is {city}?|
    Write a poem about {w}.|Tell me a story about a {w}.|Tell me a joke.|
    What is the meaning of life?|How do I make {w}?|What is the color of a {w}?|
    Why is the {w} so {v}?|Where is {city}?|How far is it to {city}?|What is {a} * {b}?|
    What is {a} times {b}?|What is {a} - {b}?|What is {a} minus {b}?|What is {a} divided by {b}?|
    {a} * {b}|{a} - {b}|{a} / {b}|Translate {w} into French.|What is a {w}?|What does {w} mean?|
    How many letters has the word {w}?|Sing a song.|Play some music.|What is the price of {w}?|
    Who wrote {city}?|Who won the game?|When was {city} born?|When is {city}?|Is the {w} {v}?|
    Do you like {w}?|I like {w}.|I am {v}.|Write a program in C.|Write some code.|
    How do I sort a list in Python?|What is love?|How old are you?|How old is {city}?|
    Who made you?|Who is the president of {city}?|What is the best {w}?|Give me a recipe for {w}.|
    Draw a {w}.|Can you draw a {w}?|Can a {w} {x}?|What time is it?|What day is it today?|
    What is the weather?|How is the weather?|Is it raining?|Are you {v}?|Do you {x}?|Can you {x}?|
    Where can I buy a {w}?|How tall is {city}?|What is the largest {w} in the world?|
    Tell me about {city}.|Tell me about {w}.|Explain {w}.|Explain {w} to me.|Describe a {w}.|
    What is {city}?|What is {w}?|Who invented the {w}?|How does a {w} work?|How do you {x} a {w}?|
    Why do people {x}?|{w}|{w} {v}|{w} and {w2}|The {w} is {v}.|My {w} is {v}.|
    I have a {w} and a {w2}.|What should I {x} today?|Send an email to {city}.|Call {city}.|
    Find {w}.|Search for {w}.|Show me {w}.|{city}|{a}|Is {city} in {city2}?|
    Which is better, {w} or {w2}?|How much does a {w} cost?|Count to {a}.|What comes after {a}?|
    Is {a} a prime number?|What is the square root of {a}?|Test|Testing|Yes|No|OK|Why?|What?|How?|
    When?|Where?|Who?|Really?|Repeat after me: {w}|Say {w}.|Once upon a time|
    Summarize this text: the {w} is {v}.|How many {w} are there?|Do you know {city}?|
    Write a letter to {city}.|What is the plural of {w}?|What rhymes with {w}?|
    I do not understand.|What is your favorite {w}?|Are you sure?|Can you help me {x} my {w}?|
    Please {x} the {w}.|What do you think about {w}?|Do you have a {w}?|Where do you live?|
    What is the news today?|How can I {x} a {w}?|Why is {city} {v}?|
    In which year was {city} built?|What happened in {a}?|Let us talk about {w}.|
    What is the difference between {w} and {w2}?|Give me a {v} {w}."""
SYSTEMS = """You are a helpful assistant.|You are a helpful, honest assistant. Answer in short.|
    You are Hearth.|You are a small model. Answer in one sentence.|Answer politely.|Be brief.|
    You are a friendly assistant.|Answer the question.|You are an assistant that runs on Linux.|
    You are a helpful assistant. Use the tools if they are of use.|Answer in English.|
    Today is {city}.|The user is {city}.|You like {w}.|You are a {v} {w}.|
    Talk about {w} and {w2}."""
APPS = """firefox gimp vim emacs nautilus terminal thunderbird krita blender inkscape steam
    spotify vlc gedit kate dolphin konsole libreoffice chromium files settings calculator
    calendar discord signal audacity obs kdenlive okular evince totem rhythmbox nano code slack
    zoom mpv gnome-terminal"""
CITIES = """Paris London Berlin Rome Madrid Lisbon Vienna Prague Warsaw Budapest Athens Dublin
    Oslo Stockholm Helsinki Copenhagen Amsterdam Brussels Zurich Geneva Munich Hamburg Cologne
    Frankfurt Stuttgart Dresden Leipzig Milan Naples Turin Venice Florence Genoa Bologna
    Barcelona Valencia Seville Porto Lyon Marseille Nice Toulouse Bordeaux Nantes Lille
    Manchester Liverpool Leeds Bristol Glasgow Edinburgh Cardiff Belfast Cork Krakow Gdansk Sofia
    Bucharest Belgrade Zagreb Ljubljana Riga Tallinn Vilnius Kyiv Moscow Istanbul Ankara Cairo
    Tunis Algiers Casablanca Lagos Accra Nairobi Kampala Dakar Johannesburg Durban Tehran Baghdad
    Dubai Doha Riyadh Karachi Lahore Delhi Mumbai Chennai Kolkata Bangalore Dhaka Kathmandu
    Bangkok Hanoi Jakarta Manila Singapore Seoul Busan Tokyo Osaka Kyoto Nagoya Sapporo Beijing
    Shanghai Shenzhen Chengdu Taipei Sydney Melbourne Brisbane Perth Adelaide Auckland Wellington
    Toronto Montreal Vancouver Ottawa Calgary Boston Chicago Houston Dallas Austin Denver Seattle
    Portland Phoenix Miami Atlanta Detroit Philadelphia Baltimore Cleveland Memphis Nashville
    Havana Lima Bogota Quito Santiago Montevideo Caracas Brasilia Salvador Recife Honolulu
    Reykjavik New_York Los_Angeles San_Francisco San_Diego Las_Vegas New_Delhi Hong_Kong
    Kuala_Lumpur Cape_Town Mexico_City Buenos_Aires Sao_Paulo Rio_de_Janeiro Abu_Dhabi Tel_Aviv
    Saint_Petersburg"""


def phrases(text):
    return [part.strip() for part in text.split("|")]


ADD, LARGER, REVERSE, SORT_LIST = (phrases(text) for text in (ADD, LARGER, REVERSE, SORT_LIST))
UNKNOWN_PHRASES, SYSTEMS = phrases(UNKNOWN_PHRASES), phrases(SYSTEMS)
TOOL_PHRASES = {name: phrases(text) for name, text in TOOL_PHRASES.items()}
CITIES = [city.replace("_", " ") for city in CITIES.split()]
APPS = APPS.split()
