using System.Runtime.CompilerServices;
using System.Text;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>The message told the offline model to fail.</summary>
public sealed class OfflineModelFailedException : Exception
{
    public OfflineModelFailedException()
    {
    }

    public OfflineModelFailedException(string message)
        : base(message)
    {
    }

    public OfflineModelFailedException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>
/// A deterministic model without key and network, for trials, tests and demonstrations (contracts/decisions.md, "The offline model"). It executes the
/// directives of the last user message, or of the last ones with no answer between them; without directives it answers from files, memories and earlier turns by
/// full-text retrieval. Its tokens are words.
/// </summary>
public sealed class OfflineModel(SessionFiles files, TimeProvider clock) : IChatClient
{
    /// <summary>The model's name.</summary>
    public const string Name = "offline";

    /// <summary>The last line of each answer that the model composed.</summary>
    public const string Disclaimer = "(This is the offline model: it finds passages by full-text retrieval and does not reason about them.)";

    /// <summary>Key of <see cref="ChatOptions.AdditionalProperties"/> for the <see cref="SessionFolder"/>.</summary>
    public const string Workspace = "workspace";

    /// <summary>Largest number of pieces that a text is streamed in.</summary>
    const int ChunksMax = 4;

    /// <summary>Characters of a summary of tool results, and of one result in it.</summary>
    const int SummaryCharsMax = 4_000;
    const int ResultCharsMax = 800;

    static readonly ChatClientMetadata Metadata = new(Name, defaultModelId: Name);

    /// <inheritdoc/>
    /// <exception cref="OfflineModelFailedException">The message said <c>/fail</c>.</exception>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        await GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    /// <inheritdoc/>
    /// <exception cref="OfflineModelFailedException">The message said <c>/fail</c>.</exception>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var all = messages as IReadOnlyList<ChatMessage> ?? [.. messages];
        cancellationToken.ThrowIfCancellationRequested();
        var last = Math.Max(0, all.Count - 1);
        while (last > 0 && all[last].Role != ChatRole.User)
        {
            last--;
        }
        var isFirst = last >= all.Count - 1;
        // Feedback before the model's first answer follows the message that it belongs to.
        var end = last + 1;
        while (last > 0 && all[last].Role == ChatRole.User && all[last - 1].Role == ChatRole.User)
        {
            last--;
        }
        var directives = Directives.Of(all.Count == 0 || all[last].Role != ChatRole.User ? "" : string.Join("\n\n", all.Take(last..end).Select(message => message.Text)));
        if (isFirst && directives.Sleep > TimeSpan.Zero)
        {
            await Task.Delay(directives.Sleep, clock, cancellationToken);
        }
        if (directives.Fail is { } why)
        {
            throw new OfflineModelFailedException(why);
        }

        var input = all.Sum(WordsOf);
        if (isFirst && directives.Calls.Count > 0)
        {
            var calls = directives.Calls.Select((c, i) => CallArguments.Call($"call_{i + 1}", c.Name, c.Input)).ToList();
            yield return Update([.. calls]);
            yield return End(ChatFinishReason.ToolCalls, input, calls.Sum(WordsOf));
            yield break;
        }

        var text = directives.Say
            ?? (all.Skip(last).Any(m => m.Role == ChatRole.Tool)
                ? SummarizeResults(all.Skip(last))
                : await OfflineAnswer.Compose(directives.Question, [.. all.Take(last)], Folder(options), files, cancellationToken));
        foreach (var chunk in Chunks(text))
        {
            cancellationToken.ThrowIfCancellationRequested();
            yield return Update([new TextContent(chunk)]);
        }
        yield return End(ChatFinishReason.Stop, input, CountWords(text));
    }

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceKey is not null ? null
        : serviceType == typeof(ChatClientMetadata) ? Metadata
        : serviceType.IsInstanceOfType(this) ? this
        : null;

    public void Dispose()
    {
    }

    /// <summary>Number of words, separated by white space.</summary>
    public static int CountWords(string text)
    {
        var (count, inside) = (0, false);
        foreach (var c in text)
        {
            var isSpace = char.IsWhiteSpace(c);
            count += !isSpace && !inside ? 1 : 0;
            inside = !isSpace;
        }
        return count;
    }

    static SessionFolder? Folder(ChatOptions? options) =>
        options?.AdditionalProperties?.TryGetValue(Workspace, out var folder) == true ? folder as SessionFolder : null;

    static int WordsOf(ChatMessage message) => message.Contents.Sum(WordsOf);

    static int WordsOf(AIContent content) => content switch
    {
        TextContent text => CountWords(text.Text),
        FunctionCallContent call => 1 + CountWords(CallArguments.Text(call)),
        FunctionResultContent result => CountWords(result.Result?.ToString() ?? ""),
        _ => 0,
    };

    static ChatResponseUpdate Update(IList<AIContent> contents) => new(ChatRole.Assistant, contents) { ModelId = Name, MessageId = Name };

    static ChatResponseUpdate End(ChatFinishReason reason, int input, int output) => new(ChatRole.Assistant,
        [new UsageContent(new UsageDetails { InputTokenCount = input, OutputTokenCount = output, TotalTokenCount = (long)input + output })])
    {
        ModelId = Name,
        MessageId = Name,
        FinishReason = reason,
    };

    /// <summary>The answers of the tools, each in one line.</summary>
    static string SummarizeResults(IEnumerable<ChatMessage> run)
    {
        var contents = run.SelectMany(m => m.Contents).ToList();
        var calls = contents.OfType<FunctionCallContent>().DistinctBy(c => c.CallId).ToDictionary(c => c.CallId, StringComparer.Ordinal);
        var results = contents.OfType<FunctionResultContent>().ToList();
        var text = new StringBuilder(results.Count == 1 ? "The tool answered:" : $"The {results.Count} tools answered:");
        var shown = 0;
        foreach (var result in results)
        {
            var line = calls.TryGetValue(result.CallId, out var call)
                ? $"- {call.Name} {FileText.Truncate(FileText.OneLine(CallArguments.Text(call)), 120)}: "
                : "- ";
            line += FileText.Truncate((result.Result?.ToString() ?? "").Trim(), ResultCharsMax);
            if (text.Length + line.Length > SummaryCharsMax)
            {
                break;
            }
            text.Append('\n').Append(line);
            shown++;
        }
        if (shown < results.Count)
        {
            text.Append($"\n- and {results.Count - shown} more.");
        }
        return text.Append("\n\n").Append(Disclaimer).ToString();
    }

    /// <summary>The text in at most <see cref="ChunksMax"/> pieces, cut between words.</summary>
    static IEnumerable<string> Chunks(string text)
    {
        var size = Math.Max(1, (text.Length + ChunksMax - 1) / ChunksMax);
        for (var start = 0; start < text.Length;)
        {
            var space = start + size >= text.Length ? -1 : text.AsSpan(start + size).IndexOfAny(' ', '\n');
            var end = space < 0 ? text.Length : start + size + space + 1;
            yield return text[start..end];
            start = end;
        }
    }
}
