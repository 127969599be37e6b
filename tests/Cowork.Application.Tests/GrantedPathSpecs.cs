using Xunit;

namespace Cowork.Application.Tests;

public sealed class GrantedPathSpecs : IDisposable
{
    readonly Workspace work = new();

    public GrantedPathSpecs()
    {
        work.Write("a.txt", "what lies inside");
        work.Write("data/b.txt", "b");
        work.Write("data/ä ö.txt", "umlauts");
        work.Link("link.txt", "a.txt");
        work.Link("absolute.txt", Path.Combine(work.Root, "a.txt"));
        work.Link("folder", "data");
        work.Link("out.txt", "../beside/outside.txt");
        work.Link("out", work.Beside);
        work.Link("dangling.txt", "../beside/nothing.txt");
        work.Link("loop", "loop");
        work.Link("proc", "/proc/self/root");
        work.Link("chain", "out");
        work.Command("mkfifo", "fifo");
        work.Command("ln", "../beside/outside.txt", "hard.txt");
        work.Command("git", "init", "-q");
    }

    public void Dispose() => work.Dispose();

    public static TheoryData<string, string> Paths => Table.Pairs(
        """
        a.txt                 | found a.txt
        ./a.txt               | found a.txt
        data/../a.txt         | found a.txt
        nothing/../a.txt      | found a.txt
        data/ä ö.txt          | found data/ä ö.txt
        data/                 | found data
        .                     | found .
        {root}                | found .
        {root}/a.txt          | found a.txt
        link.txt              | found a.txt
        absolute.txt          | found a.txt
        folder/b.txt          | found data/b.txt
        fifo                  | unreadable fifo
        hard.txt              | unreadable hard.txt      | its other name lies outside
        .git/HEAD             | found .git/HEAD
        A.TXT                 | missing A.TXT            | case matters, as on the disk
        nothing.txt           | missing nothing.txt
        folder/nothing.txt    | missing data/nothing.txt
        a.txt/x               | missing a.txt/x
        ..%2fbeside           | missing ..%2fbeside      | a name like any other: nothing is decoded
        ..                    | outside
        ../beside/outside.txt | outside
        ../beside/nothing.txt | outside                  | told apart from the line above by nobody
        {root}/../beside      | outside
        {root}x               | outside
        /etc/passwd           | outside
        /proc/self/environ    | outside
        out.txt               | outside
        out                   | outside
        out/outside.txt       | outside
        out/nothing.txt       | outside
        out/../a.txt          | found a.txt              | dots are text: the way does not lead through the link
        dangling.txt          | outside
        loop                  | outside
        chain/outside.txt     | outside
        proc/etc/passwd       | outside
        /dev/zero             | outside
        """);

    [Theory]
    [MemberData(nameof(Paths))]
    [InlineData("", "invalid")]
    [InlineData("  ", "invalid")]
    [InlineData("a\0.txt", "invalid")]
    public void A_path_comes_to(string path, string expected)
    {
        using var granted = GrantedPath.Open(Grant.Of(work.Root), path.Replace("{root}", work.Root, StringComparison.Ordinal));
        Assert.Equal(expected, Word(granted));
    }

    [Theory]
    [InlineData(300, false)]
    [InlineData(5_000, true)]
    public void A_path_that_no_file_can_have_is_invalid(int length, bool slashes)
    {
        using var granted = GrantedPath.Open(Grant.Of(work.Root), slashes ? string.Concat(Enumerable.Repeat("abcdefghi/", length / 10)) : new string('x', length));
        Assert.IsType<GrantedPath.Invalid>(granted);
    }

    [Fact]
    public void A_path_with_half_a_character_is_invalid()
    {
        using var granted = GrantedPath.Open(Grant.Of(work.Root), "a\ud800.txt");
        Assert.IsType<GrantedPath.Invalid>(granted);
    }

    [Fact]
    public void A_grant_that_is_a_link_itself_is_what_it_leads_to()
    {
        var alias = Path.Combine(work.Top, "alias");
        File.CreateSymbolicLink(alias, work.Root);
        using var relative = GrantedPath.Open(Grant.Of(alias), "link.txt");
        using var absolute = GrantedPath.Open(Grant.Of(alias), Path.Combine(alias, "a.txt"));
        Assert.Equal(("found a.txt", "found a.txt"), (Word(relative), Word(absolute)));
    }

    [Fact]
    public void A_grant_that_is_gone_holds_nothing()
    {
        using var granted = GrantedPath.Open(Grant.Of(work.Root + "-gone"), "a.txt");
        Assert.IsType<GrantedPath.Missing>(granted);
    }

    [Fact]
    public void A_file_of_a_git_checkout_can_be_read()
    {
        work.Command("git", "add", "a.txt");
        work.Command("git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", "commit", "-q", "-m", "a");
        work.Command("git", "clone", "-q", ".", "copy");
        using var granted = GrantedPath.Open(Grant.Of(work.Root), "copy/a.txt");
        Assert.Equal("found copy/a.txt", Word(granted));
    }

    [Fact]
    public async Task A_link_that_is_turned_all_the_time_never_yields_what_lies_outside()
    {
        work.Write("in/outside.txt", "what lies inside");
        await using var turning = new TurningLink(Path.Combine(work.Root, "flip"), "in", work.Beside);
        var (read, refused) = (0, 0);
        // Both sides must have come up, or the race was never run.
        for (var i = 0; i < 2_000 || ((read == 0 || refused == 0) && i < 100_000); i++)
        {
            using var granted = GrantedPath.Open(Grant.Of(work.Root), "flip/outside.txt");
            if (granted is GrantedPath.Found found)
            {
                using var reader = new StreamReader(found.OpenRead());
                Assert.Equal("what lies inside", await reader.ReadToEndAsync());
                read++;
            }
            else
            {
                refused++;
            }
        }
        Assert.True(read > 0 && refused > 0, $"{read} read, {refused} refused");
    }

    static string Word(GrantedPath granted) => granted switch
    {
        GrantedPath.Invalid => "invalid",
        GrantedPath.Outside => "outside",
        GrantedPath.Missing missing => $"missing {missing.Relative}",
        GrantedPath.Found { WhyProtected: null } found => $"found {found.Relative}",
        GrantedPath.Found found => $"unreadable {found.Relative}",
        _ => "?",
    };
}
