using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

namespace Cowork.Application.Tests;

public sealed class OfflineModelSpecs : IDisposable
{
    readonly Workspace work = new();
    readonly SessionFiles files = Workspace.Files();

    public void Dispose() => work.Dispose();

    [Fact]
    public async Task Tool_lines_are_asked_for_in_one_response()
    {
        var response = await Ask("/tool read_file {\"path\":\"a.txt\"}\n/tool list_files\n/say Done.");
        var calls = response.Messages.Single().Contents.OfType<FunctionCallContent>().ToList();
        Assert.Equal(["call_1 read_file {\"path\":\"a.txt\"}", "call_2 list_files {}"], calls.Select(c => $"{c.CallId} {c.Name} {CallArguments.Text(c)}"));
        Assert.Equal("a.txt", calls[0].Arguments!["path"]!.ToString());
        Assert.Equal((ChatFinishReason.ToolCalls, "", OfflineModel.Name), (response.FinishReason!.Value, response.Text, response.ModelId));
    }

    [Theory]
    [InlineData("{broken")]
    [InlineData("[1]")]
    [InlineData("{\"a\":\"\\ud800\"}")]
    [InlineData("{\"a\":1,\"a\":2}")]
    public async Task Arguments_that_are_no_json_object_stay_as_they_were_written(string input)
    {
        var call = (await Ask($"/tool read_file {input}")).Messages.Single().Contents.OfType<FunctionCallContent>().Single();
        Assert.Equal((input, true), (CallArguments.Text(call), call.Arguments is null && call.Exception is not null));
    }

    [Fact]
    public void Arguments_of_other_models_are_written_as_json() =>
        Assert.Equal("{\"path\":\"a\"}", CallArguments.Text(new FunctionCallContent("1", "read_file", new Dictionary<string, object?> { ["path"] = "a" })));

    [Fact]
    public async Task After_the_tools_say_is_the_answer()
    {
        var answer = await Ask(AfterTools("/tool list_files\n/say Two files, as you see.", "a.txt\nb.txt"));
        Assert.Equal(("Two files, as you see.", ChatFinishReason.Stop), (answer.Text, answer.FinishReason!.Value));
    }

    [Fact]
    public async Task After_the_tools_the_answer_is_a_short_account()
    {
        var answer = await Ask(AfterTools("/tool list_files", "a.txt\nb.txt"));
        Assert.Equal($"The tool answered:\n- list_files {{}}: a.txt\nb.txt\n\n{OfflineModel.Disclaimer}", answer.Text);

        var bulky = await Ask(AfterTools("/tool list_files", [.. Enumerable.Range(0, 60).Select(_ => new string('x', 100_000))]));
        Assert.InRange(bulky.Text.Length, 1_000, 5_000);
        Assert.Contains("The 60 tools answered:", bulky.Text, StringComparison.Ordinal);
        Assert.Contains(" more.", bulky.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_the_last_user_message_directs()
    {
        var answer = await Ask(
            new(ChatRole.User, "/tool list_files\n/fail always\n/sleep 100000"), new(ChatRole.Assistant, "No."), new(ChatRole.User, "/say Yes."));
        Assert.Equal("Yes.", answer.Text);
    }

    [Fact]
    public async Task It_fails_when_told_to()
    {
        var failed = await Assert.ThrowsAsync<OfflineModelFailedException>(() => Ask("/tool list_files\n/fail out of paper"));
        Assert.Equal("out of paper", failed.Message);
    }

    [Fact]
    public async Task It_sleeps_once_before_the_first_answer()
    {
        var time = new TestClock();
        var asleep = AskAt(time, default, new ChatMessage(ChatRole.User, "/sleep 5000\n/tool list_files"));
        time.Advance(TimeSpan.FromMilliseconds(4_999));
        Assert.False(asleep.IsCompleted);
        time.Advance(TimeSpan.FromMilliseconds(1));
        await asleep;
        // The answer after the tools does not sleep again: this clock never moves.
        await AskAt(new TestClock(), default, AfterTools("/sleep 5000\n/tool list_files", "a.txt"));
    }

    [Fact]
    public async Task Sleep_can_be_cancelled()
    {
        using var cancel = new CancellationTokenSource();
        var asleep = AskAt(TimeProvider.System, cancel.Token, new ChatMessage(ChatRole.User, "/sleep 3600000"));
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asleep);
    }

    [Fact]
    public async Task A_long_question_over_a_large_table_can_be_cancelled()
    {
        // Every word of the question is a value of every row: some minutes' work.
        var row = string.Join(',', Enumerable.Range(0, 200).Select(i => $"w{i}x"));
        work.Write("large.csv", string.Concat(Enumerable.Repeat(row + "\n", 4_000)));
        // Read and indexed before, so that only counting is left.
        await Ask("Is there anything?");
        using var cancelled = new CancellationTokenSource();
        cancelled.CancelAfter(TimeSpan.FromSeconds(1));
        // It hears of it in the middle: by itself it would end minutes later.
        await Patience.Within(TimeSpan.FromSeconds(10), () => Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => AskAt(TimeProvider.System, cancelled.Token, new ChatMessage(ChatRole.User, $"How many rows have {row.Replace(',', ' ')}?"))));
    }

    [Fact]
    public async Task It_answers_from_a_file_and_names_the_line()
    {
        work.Write("data/airports.csv", Airports.Csv);
        var answer = (await Ask("Which airport is in Barrow, Alaska?")).Text;
        Assert.Equal(
            $"""
            From the session's files:
            - data/airports.csv:5: iata=BRW, name=Wiley Post Will Rogers Memorial, city=Barrow, state=AK, country=USA, latitude=71.2854475, longitude=-156.7660019
            - data/airports.csv:11: iata=WDR, name=Winder-Barrow, city=Winder, state=GA, country=USA, latitude=33.98290194, longitude=-83.66736111
            No file has: alaska.

            Looked through 1 text file: data/airports.csv.
            {OfflineModel.Disclaimer}
            """,
            answer);
    }

    [Theory]
    [InlineData("How many rows has airports.csv?", "airports.csv has 10 rows below its header.")]
    [InlineData("How many lines has airports.csv?", "airports.csv has 11 lines.")]
    [InlineData("How many airports are there in New York?", "2 of the 10 rows of airports.csv have city = New York (airports.csv:8, airports.csv:9).")]
    [InlineData("How many airports are in state AK?", "2 of the 10 rows of airports.csv have state = AK (airports.csv:4, airports.csv:5).")]
    [InlineData("How many airports are in IN?", "1 of the 10 rows of airports.csv have state = IN (airports.csv:7).")]
    [InlineData("Number of airports with state = TX and city=Livingston", "1 of the 10 rows of airports.csv have state = TX and city = Livingston (airports.csv:3).")]
    [InlineData("How many are AK and TX?", "0 of the 10 rows of airports.csv have state = AK and state = TX.")]
    [InlineData("How many flights are there?", "I found nothing about this in the session's files, memories or earlier turns.")]
    public async Task It_counts_what_it_can_name(string question, string first)
    {
        work.Write("airports.csv", Airports.Csv);
        Assert.Equal(first, (await Ask(question)).Text.Split('\n')[0]);
    }

    [Fact]
    public async Task It_answers_from_memories_and_earlier_turns()
    {
        var answer = (await Ask(
            new(ChatRole.System, "You are a careful assistant."),
            new(ChatRole.System, "Memories:\n- [mem_01] The invoice of Acme\nis due on Friday.\n- [mem_02] Ann likes tea."),
            new(ChatRole.User, "When is the invoice due?"),
            new(ChatRole.User, "My own invoice is due in May."),
            new(ChatRole.Assistant, "Noted."),
            new(ChatRole.User, "When is the invoice due?"))).Text;
        Assert.StartsWith(
            "From memory:\n- mem_01:1-2: The invoice of Acme is due on Friday.\nFrom earlier in this session:\n- you said:1: My own invoice is due in May.\n",
            answer,
            StringComparison.Ordinal);
        Assert.DoesNotContain("tea", answer, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Hello!")]
    [InlineData("")]
    public async Task It_says_when_it_found_nothing(string message) =>
        Assert.Equal(
            $"I found nothing about this in the session's files, memories or earlier turns.\n\nThe session's folder holds no text file.\n{OfflineModel.Disclaimer}",
            (await Ask(message)).Text);

    [Fact]
    public async Task Secrets_are_not_answered_from()
    {
        work.Write(".env", "PASSWORD=hunter2");
        work.Write("secrets/password.txt", "the password is hunter3");
        work.Link("password.txt", "secrets/password.txt");
        Assert.DoesNotContain("hunter", (await Ask("What is the password?")).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_text_comes_in_a_few_pieces_and_tokens_are_words()
    {
        using var model = new OfflineModel(files, TimeProvider.System);
        var updates = await model.GetStreamingResponseAsync([new(ChatRole.User, "/say one two three  four five\n/say six")]).ToListAsync();
        Assert.Equal(["one two ", "three  four ", "five\nsix"], updates.Where(u => u.Text.Length > 0).Select(u => u.Text));
        var usage = updates.SelectMany(u => u.Contents).OfType<UsageContent>().Single().Details;
        Assert.Equal((8L, 6L, 14L), (usage.InputTokenCount, usage.OutputTokenCount, usage.TotalTokenCount));
    }

    [Fact]
    public async Task The_same_question_has_the_same_answer()
    {
        work.Write("airports.csv", Airports.Csv);
        Assert.Equal((await Ask("New York airports")).Text, (await Ask("New York airports")).Text);
    }

    [Fact]
    public async Task A_changed_file_is_read_anew()
    {
        work.Write("a.md", "The answer is forty-one.");
        Assert.Contains("forty-one", (await Ask("the answer")).Text, StringComparison.Ordinal);
        work.Write("a.md", "The answer is forty-two, of course.");
        Assert.Contains("forty-two", (await Ask("the answer")).Text, StringComparison.Ordinal);
    }

    static ChatMessage[] AfterTools(string message, params string[] results) =>
    [
        new(ChatRole.User, message),
        new(ChatRole.Assistant, [.. results.Select((_, i) => CallArguments.Call($"call_{i + 1}", "list_files", "{}"))]),
        .. results.Select((r, i) => new ChatMessage(ChatRole.Tool, [new FunctionResultContent($"call_{i + 1}", r)])),
    ];

    Task<ChatResponse> Ask(string message) => Ask(new ChatMessage(ChatRole.User, message));

    Task<ChatResponse> Ask(params ChatMessage[] messages) => AskAt(TimeProvider.System, default, messages);

    async Task<ChatResponse> AskAt(TimeProvider time, CancellationToken ct, params ChatMessage[] messages)
    {
        using var model = new OfflineModel(files, time);
        return await model.GetResponseAsync(messages, new() { AdditionalProperties = new() { [OfflineModel.Workspace] = work.Folder } }, ct);
    }
}
