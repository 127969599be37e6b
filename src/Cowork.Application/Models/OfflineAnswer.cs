using System.Text;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>What can be said to a question without understanding it: the places that speak of it, word for word, and counted rows.</summary>
static class OfflineAnswer
{
    /// <summary>First line of the system message that holds the memories, one line each: <c>- [mem_…] text</c>.</summary>
    const string MemoriesHead = "Memories:";

    const int FilePassages = 5;
    const int OtherPassages = 2;
    const int PassageChars = 600;

    /// <summary>A passage this much worse than the best one is left out.</summary>
    const double ScoreMin = 0.6;

    /// <summary>A memory or an earlier turn that speaks of less of the question than this is not about it.</summary>
    const double CoverageMin = 0.4;

    /// <param name="before">The messages before the question: memories and earlier turns.</param>
    /// <param name="folder">The session's folder, when there is one.</param>
    public static string To(string question, IReadOnlyList<ChatMessage> before, string? folder, SessionFiles files, CancellationToken ct)
    {
        var read = folder is null ? new FilesRead([], []) : files.Read(folder, ct);
        var inFiles = TextSearch.Find(read.Texts, question, FilePassages, ct);
        var memories = Found(MemoriesIn(before), question);
        var earlier = Found(TurnsIn(before, question), question);

        var text = new StringBuilder();
        foreach (var count in RowCount.Answers(read.Texts, question, ct))
        {
            text.AppendLine(count);
        }
        var isCounted = text.Length > 0;
        if (inFiles.Hits.Count > 0 && !isCounted)
        {
            Section("From the session's files:", inFiles.Hits.Where(h => h.Score >= inFiles.Hits[0].Score * ScoreMin));
        }
        Section("From memory:", memories);
        Section("From earlier in this session:", earlier);
        if (text.Length == 0)
        {
            text.AppendLine("I found nothing about this in the session's files, memories or earlier turns.");
        }
        else if (inFiles.Hits.Count > 0 && !isCounted && inFiles.Unknown.Count > 0)
        {
            text.AppendLine($"No file has: {string.Join(", ", inFiles.Unknown.Take(10).Select(w => FileText.Cut(w, 40)))}.");
        }
        text.AppendLine();
        text.AppendLine(read.Texts.Count == 0
            ? "The session's folder holds no text file."
            : $"Looked through {read.Texts.Count} text file{(read.Texts.Count == 1 ? "" : "s")}: "
                + $"{string.Join(", ", read.Texts.Take(5).Select(t => t.Source))}{(read.Texts.Count > 5 ? ", …" : "")}.");
        foreach (var note in read.Notes)
        {
            text.AppendLine(note);
        }
        return text.Append(OfflineModel.WhatThisIs).ToString();

        void Section(string title, IEnumerable<Hit> hits)
        {
            var lines = hits.Select(h => $"- {h.Passage.Place}: {FileText.Cut(FileText.OneLine(h.Passage.Text), PassageChars)}").ToList();
            if (lines.Count > 0)
            {
                text.AppendLine(title);
                lines.ForEach(l => text.AppendLine(l));
            }
        }
    }

    static IEnumerable<Hit> Found(IReadOnlyList<TextIndex> texts, string question) =>
        TextSearch.Find(texts, question, OtherPassages).Hits.Where(h => h.Coverage >= CoverageMin);

    /// <summary>The memories put before the model, each a text under its id.</summary>
    static List<TextIndex> MemoriesIn(IReadOnlyList<ChatMessage> messages)
    {
        var memories = new List<TextIndex>();
        foreach (var message in messages.Where(m => m.Role == ChatRole.System && m.Text.StartsWith(MemoriesHead, StringComparison.Ordinal)))
        {
            string? id = null;
            var body = new StringBuilder();
            foreach (var line in message.Text.Split('\n').Skip(1))
            {
                if (line.StartsWith("- [", StringComparison.Ordinal) && line.IndexOf(']', StringComparison.Ordinal) is > 3 and var end)
                {
                    Keep();
                    id = line[3..end];
                    body.Append(line.AsSpan(end + 1).Trim());
                }
                else
                {
                    body.Append('\n').Append(line); // a memory of several lines
                }
            }
            Keep();

            void Keep()
            {
                if (id is not null)
                {
                    memories.Add(TextIndex.Of(id, body.ToString()));
                }
                body.Clear();
            }
        }
        return memories;
    }

    /// <summary>What was said before; questions say nothing, and what the offline model found before it finds again.</summary>
    static List<TextIndex> TurnsIn(IReadOnlyList<ChatMessage> messages, string question) =>
    [
        .. messages
            .Where(m => (m.Role == ChatRole.User && !m.Text.TrimEnd().EndsWith('?') && m.Text.Trim() != question)
                || (m.Role == ChatRole.Assistant && !m.Text.Contains(OfflineModel.WhatThisIs, StringComparison.Ordinal)))
            .Where(m => m.Text.Length > 0)
            .Select(m => TextIndex.Of(m.Role == ChatRole.User ? "you said" : "the reply was", m.Text)),
    ];
}
