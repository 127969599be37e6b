using Xunit;

namespace Cowork.Application.Tests;

public sealed class WorkCursorSpecs
{
    static readonly DateTimeOffset Morning = new(2026, 1, 1, 9, 0, 0, 250, TimeSpan.Zero);
    static readonly MasterKey Old = MasterKey.New();
    static readonly MasterKeyring Keys = new([Old], "a spec");
    static readonly WorkList List = new("acme", "user:ann", "listings", ["elm", "street"]);
    static readonly WorkCursor Cursor = new(4711, new(1_767_258_000_250, 4710), Morning);

    [Fact]
    public void A_cursor_is_read_as_it_was_written()
    {
        var text = Cursor.Write(List, Keys);
        Assert.Matches("^[A-Za-z0-9_-]+$", text);
        Assert.Equal(Cursor, WorkCursor.Read(text, List, Keys, Morning));
        Assert.Equal(Cursor, WorkCursor.Read(text, List with { Words = ["street", "elm"] }, Keys, Morning));
        // Under a new master key those of the earlier one are good.
        Assert.Equal(Cursor, WorkCursor.Read(text, List, new([MasterKey.New(), Old], "a spec"), Morning));
    }

    [Fact]
    public void It_is_good_for_an_hour()
    {
        var text = Cursor.Write(List, Keys);
        Assert.NotNull(WorkCursor.Read(text, List, Keys, Morning.AddHours(1)));
        Assert.Null(WorkCursor.Read(text, List, Keys, Morning.AddHours(1).AddMilliseconds(1)));
    }

    [Fact]
    public void That_of_a_moment_that_was_asked_for_is_good_for_ever()
    {
        var text = (Cursor with { IsAsOf = true }).Write(List, Keys);
        Assert.Equal(Cursor with { IsAsOf = true }, WorkCursor.Read(text, List, Keys, Morning.AddYears(10)));
        Assert.NotEqual(text, Cursor.Write(List, Keys));
    }

    [Fact]
    public void It_is_of_one_list_and_nobody_else_can_write_one()
    {
        var text = Cursor.Write(List, Keys);
        foreach (var other in (WorkList[])[List with { Org = "other" }, List with { Owner = "user:bob" }, List with { Bucket = null }, List with { Words = ["elm"] }, List with { Words = [] }])
        {
            Assert.Null(WorkCursor.Read(text, other, Keys, Morning));
        }
        Assert.Null(WorkCursor.Read(text, List, new([MasterKey.New()], "a spec"), Morning));
        for (var i = 0; i < text.Length; i++)
        {
            // The last character has bits that say nothing: only those of the others do.
            var changed = text[..i] + (text[i] == 'A' ? 'Q' : 'A') + text[(i + 1)..];
            Assert.True(WorkCursor.Read(changed, List, Keys, Morning) is null || i == text.Length - 1, changed);
        }
        foreach (var none in (string[])["", "x", text[1..], text + "A", new string('A', text.Length), new string('é', text.Length), text.ToUpperInvariant()])
        {
            Assert.Null(WorkCursor.Read(none, List, Keys, Morning));
        }
    }
}
