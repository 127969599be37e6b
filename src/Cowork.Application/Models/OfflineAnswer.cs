using System.Text;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>Answers a question without understanding it: passages that match it, word for word, and counted rows.</summary>
static class OfflineAnswer
{
    /// <summary>First line of the system message that holds the memories, one line each: <c>- [mem_…] text</c>.</summary>
    const string MemoriesHead = "Memories:";

    const int FilePassages = 5;
    const int OtherPassages = 2;
    const int PassageChars = 600;

    /// <summary>Passages below this part of the best score are left out.</summary>
    const double ScoreMin = 0.6;

    /// <summary>A memory or an earlier turn that covers less of the question is left out.</summary>
    const double CoverageMin = 0.4;

    /// <param name="before">The messages before the question: memories and earlier turns.</param>
    /// <param name="folder">The session's folder; null: none.</param>
    public static async ValueTask<string> Compose(string question, IReadOnlyList<ChatMessage> before, SessionFolder? folder, SessionFiles files, CancellationToken ct)
    {
        var searched = folder is null ? new(new([], []), [], []) : await files.Search(folder, question, FilePassages, ct);
        var inFiles = searched.Result;
        var memories = FindRelevant(MemoriesIn(before), question);
        var earlier = FindRelevant(TurnsIn(before, question), question);

        var text = new StringBuilder();
        if (folder is not null && RowCount.IsAsked(question))
        {
            using var place = await files.Enter(folder.Org, ct);
            foreach (var count in RowCount.Answers(files.Read(folder.Grants, ct).Texts, question, ct))
            {
                text.AppendLine(count);
            }
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
        else if (inFiles.Hits.Count > 0 && !isCounted && inFiles.UnknownTerms.Count > 0)
        {
            text.AppendLine($"No file has: {string.Join(", ", inFiles.UnknownTerms.Take(10).Select(w => FileText.Truncate(w, 40)))}.");
        }
        text.AppendLine();
        text.AppendLine(searched.Files.Count == 0
            ? "The session's folder holds no text file."
            : $"Looked through {searched.Files.Count} text file{(searched.Files.Count == 1 ? "" : "s")}: "
                + $"{string.Join(", ", searched.Files.Take(5))}{(searched.Files.Count > 5 ? ", …" : "")}.");
        foreach (var note in searched.Notes)
        {
            text.AppendLine(note);
        }
        return text.Append(OfflineModel.Disclaimer).ToString();

        void Section(string title, IEnumerable<Hit> hits)
        {
            var lines = hits.Select(h => $"- {h.Passage.Location}: {FileText.Truncate(FileText.OneLine(h.Passage.Text), PassageChars)}").ToList();
            if (lines.Count > 0)
            {
                text.AppendLine(title);
                lines.ForEach(l => text.AppendLine(l));
            }
        }
    }

    static IEnumerable<Hit> FindRelevant(IReadOnlyList<TextIndex> texts, string question) =>
        TextSearch.Find(texts, question, OtherPassages).Hits.Where(h => h.Coverage >= CoverageMin);

    /// <summary>The memories of the prompt, each as a text named by its id.</summary>
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
                    AddMemory();
                    id = line[3..end];
                    body.Append(line.AsSpan(end + 1).Trim());
                }
                else
                {
                    body.Append('\n').Append(line); // a memory with several lines
                }
            }
            AddMemory();

            void AddMemory()
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

    /// <summary>The earlier turns, without questions and without the offline model's own findings, which it finds again.</summary>
    static List<TextIndex> TurnsIn(IReadOnlyList<ChatMessage> messages, string question) =>
    [
        .. messages
            .Where(m => (m.Role == ChatRole.User && !m.Text.TrimEnd().EndsWith('?') && m.Text.Trim() != question)
                || (m.Role == ChatRole.Assistant && !m.Text.Contains(OfflineModel.Disclaimer, StringComparison.Ordinal)))
            .Where(m => m.Text.Length > 0)
            .Select(m => TextIndex.Of(m.Role == ChatRole.User ? "you said" : "the reply was", m.Text)),
    ];
}
